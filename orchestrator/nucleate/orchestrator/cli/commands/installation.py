"""up, down, doctor, config: the local installation."""

from __future__ import annotations

from typing import Annotated

import typer

from nucleate.orchestrator.cli.terminal.options import Json

config = typer.Typer(help="What is configured, and from where.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(up)
    app.command()(down)
    app.command()(doctor)
    app.add_typer(config, name="config")


def up(
    services: Annotated[list[str] | None, typer.Argument(metavar="[SERVICE]...", help="Only these; default all.")] = None,
    base_port: Annotated[int, typer.Option(min=0, max=65000, help="First of a row of fixed ports; 0 takes free ones.")] = 0,
) -> None:
    """Start every service that does not run, as local processes, and wait until all answer."""
    from nucleate.client.local.installation import SERVICES, default_home
    from nucleate.client.local.supervisor import Supervisor
    from nucleate.errors import InvalidInput
    from nucleate.orchestrator.cli.terminal.printing import print_notice

    wanted = services or list(SERVICES)
    unknown = [name for name in wanted if name not in SERVICES]
    if unknown:
        raise InvalidInput(f"unknown service '{unknown[0]}': choose from {', '.join(SERVICES)}")
    registry = Supervisor(default_home()).up(lambda name, what: print_notice(f"{name:<13} {what}"), wanted, base_port=base_port)
    for name in wanted:
        print(f"{name:<13} {registry.endpoints[name]}")


def down() -> None:
    """Stop every local service; runs in work stop after their current step and can be resumed."""
    from nucleate.client.local.installation import default_home
    from nucleate.client.local.supervisor import Supervisor
    from nucleate.orchestrator.cli.terminal.printing import print_notice

    stopped = Supervisor(default_home()).down(lambda name, what: print_notice(f"{name:<13} {what}"))
    if not stopped:
        print_notice(f"no service runs in {default_home()}")


def doctor(as_json: Json = False) -> None:
    """Check Python, packages, services and the store; exit 5 if something needed is missing."""
    from nucleate.orchestrator.cli.terminal.exit_codes import PRECONDITION
    from nucleate.orchestrator.cli.terminal.printing import show_json, show_table
    from nucleate.orchestrator.cli.work.diagnosis import diagnose

    results = diagnose()
    if as_json:
        show_json([result.__dict__ for result in results])
    else:
        show_table(("check", "state", "found"), [(each.check, each.state, each.found) for each in results])
    if any(result.state == "bad" for result in results):
        raise typer.Exit(PRECONDITION)


@config.command("show")
def config_show(as_json: Json = False) -> None:
    """Print the settings in force: version, home, store, endpoints, environment."""
    from nucleate.orchestrator.cli.terminal.printing import show_json, show_table
    from nucleate.orchestrator.cli.work.diagnosis import settings_in_force

    settings = settings_in_force()
    if as_json:
        show_json(settings)
    else:
        show_table(("setting", "value"), [(name, str(value)) for name, value in settings.items()])
