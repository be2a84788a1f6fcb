"""What pyproject.toml cannot say: the recipes, which lie beside the package, travel with it."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["mindcv_halo", "mindcv_halo.*"]), "mindcv_halo.configs"],
    package_dir={"mindcv_halo.configs": "configs"},
    package_data={
        "mindcv_halo": ["py.typed"],
        "mindcv_halo.configs": ["README.md", "*/*.yaml"],
        "mindcv_halo.data": ["imagenet_classes.txt"],
        "mindcv_halo.serving": ["page.*"],
        "mindcv_halo.models.weights": ["packaged/*"],
        "mindcv_halo.native": ["src/*"],
    },
)
