"""A recipe: its keys (options), their values (types), and how YAML and flags become one (parse)."""

from .options import Recipe, flatten, list_options
from .parse import (
    Switch,
    create_parser,
    make_recipe,
    parse_args,
    parse_command,
    parse_recipe,
    parse_words,
    read_recipe,
    save_recipe,
)

__all__ = [
    "Recipe",
    "Switch",
    "create_parser",
    "flatten",
    "list_options",
    "make_recipe",
    "parse_args",
    "parse_command",
    "parse_recipe",
    "parse_words",
    "read_recipe",
    "save_recipe",
]
