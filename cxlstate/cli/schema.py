"""`cxlstate schema`: the JSON Schema that editors use."""

from __future__ import annotations

from pathlib import Path

import click

from cxlstate.render.output import dumps, say_json


@click.command("schema", short_help="Write the JSON Schema of specs, for editors.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file.")
def command(out: Path | None) -> int:
    """Print the JSON Schema of spec files, or write it to a file.

    \b
    Examples:
      cxlstate schema --out schemas/cxlstate.schema.json
    """
    from cxlstate.spec.schema import schema

    if out:
        from cxlstate.cli import out_file

        out_file.write(out, dumps(schema()) + "\n", private=False)
    else:
        say_json(schema())
    return 0
