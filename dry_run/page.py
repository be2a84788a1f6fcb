from pathlib import Path
def write_page(path, results): pass
