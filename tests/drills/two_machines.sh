#!/usr/bin/env bash
# Two network namespaces as two machines: one training job over both, started by Open MPI's mpirun on the first.
#
#   tests/drills/two_machines.sh PYTHON [flags of train.py]     as root; needs iproute2 and Open MPI 4
#
# The namespaces share the file system and nothing of the network but a cable of their own.
set -euo pipefail
python=$1
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)

cleanup() {
    ip netns del halo_a 2>/dev/null || true
    ip netns del halo_b 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

ip netns add halo_a
ip netns add halo_b
ip link add halo_a0 netns halo_a type veth peer name halo_b0 netns halo_b
ip -n halo_a addr add 10.77.0.1/24 dev halo_a0
ip -n halo_b addr add 10.77.0.2/24 dev halo_b0
for name in a b; do
    ip -n "halo_$name" link set lo up
    ip -n "halo_$name" link set "halo_${name}0" up
done

# What mpirun takes for ssh: `agent HOST COMMAND...`
cat > "$work/agent" <<'AGENT'
#!/usr/bin/env bash
host=$1
shift
case $host in 10.77.0.1) name=halo_a ;; 10.77.0.2) name=halo_b ;; *) exit 1 ;; esac
exec ip netns exec "$name" bash -c "$*"
AGENT
chmod +x "$work/agent"

ip netns exec halo_a mpirun --allow-run-as-root --oversubscribe --bind-to none -n 2 \
    --host 10.77.0.1:1,10.77.0.2:1 --mca plm_rsh_agent "$work/agent" -x PYTHONPATH \
    "$python" "$root/train.py" "$@" --distribute True
