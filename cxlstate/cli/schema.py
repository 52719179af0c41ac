"""`cxlstate schema`: the JSON Schema that editors use."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("schema", short_help="Write the JSON Schema of specs, for editors.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file.")
def command(out: Path | None) -> int:
    """Print the JSON Schema of spec files, or write it to a file.

    \b
    Examples:
      cxlstate schema --out schemas/cxlstate.schema.json
    """
    from cxlstate.render.document import dumps
    from cxlstate.spec.schema import schema

    text = dumps(schema()) + "\n"
    if out:
        out.write_text(text, encoding="utf-8")
    else:
        click.echo(text, nl=False)
    return 0
