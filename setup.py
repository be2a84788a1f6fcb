from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
version: dict[str, str] = {}
exec((ROOT / "mindcv_halo" / "version.py").read_text(), version)

setup(
    name="mindcv_halo",
    version=version["__version__"],
    description="HaloNet on MindSpore: models, training and weights, with MindCV's surface",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    packages=[*find_packages(include=["mindcv_halo", "mindcv_halo.*"]), "mindcv_halo.configs"],
    package_dir={"mindcv_halo.configs": "configs"},  # the recipes travel with the package
    package_data={
        "mindcv_halo": ["py.typed"],
        "mindcv_halo.configs": ["README.md", "*/*.yaml"],
        "mindcv_halo.data": ["imagenet_classes.txt"],
        "mindcv_halo.serving": ["page.*"],
        "mindcv_halo.native": ["src/*"],
    },
    python_requires=">=3.10,<3.13",
    install_requires=[
        "mindspore>=2.7,<2.11",
        "numpy>=1.25,<2",  # with numpy 2 MindSpore loads, but fails at the first tensor
        "pyyaml>=6",
        "pillow>=9.1",
        "tqdm>=4.60",
    ],
    extras_require={
        "files": ["safetensors>=0.4.3", "protobuf>=3.20"],  # which MindSpore 2.7 to 2.10 bring
        "demo": ["scikit-learn>=1.2"],
        "plot": ["matplotlib>=3.8"],
        "tensorboard": ["tensorboardX>=2.6.2.2"],
        "convert": ["torch>=2.6", "h5py>=3.10"],  # torch's weights-only loader of earlier versions can run code
        "onnx": ["onnx>=1.23", "onnxruntime>=1.23"],
        "serve": ["starlette>=1.7", "uvicorn>=0.54"],
        "docs": ["mkdocs-material>=9.5", "mkdocstrings[python]>=0.26", "matplotlib>=3.8"],
        "dev": [
            "pytest>=8",
            "pytest-xdist>=3.5",
            "ruff>=0.9",
            "mypy>=1.14",
            "types-PyYAML",
            "safetensors>=0.4.3",
            "protobuf>=3.20",
            "mkdocs-material>=9.5",
            "mkdocstrings[python]>=0.26",
            "scikit-learn>=1.2",
            "matplotlib>=3.8",
            "tensorboardX>=2.6.2.2",
            "h5py>=3.10",
            "onnx>=1.23",
            "onnxruntime>=1.23",
            "starlette>=1.7",
            "uvicorn>=0.54",
            "httpx2>=2.14",
            "selenium>=4.51",
        ],
    },
    entry_points={"console_scripts": ["mindcv-halo=mindcv_halo.cli:main"]},
)
