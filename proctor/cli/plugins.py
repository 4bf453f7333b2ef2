"""`proctor plugins`."""

from rich.table import Table

from proctor.cli.console import console, mistakes_told, read_settings


def plugins() -> None:
    """List the installed analyzers."""
    from proctor.analysis.discovery import discover

    settings = read_settings()
    with mistakes_told():
        analyzers = discover(settings.required_analyzers)
    table = Table("rule", "title", "plugin", "version", "contract")
    for found in analyzers:
        plugin, analyzer = found
        table.add_row(plugin.name, analyzer.title, plugin.package, plugin.version, str(analyzer.api_version))
    console.print(table)
