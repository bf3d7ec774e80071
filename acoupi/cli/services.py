"""``acoupi start``, ``stop`` and ``restart``: the sensor's services."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acoupi.system.systemctl import ServiceManager

__all__ = ["restart", "start", "stop"]


@click.command()
def start() -> None:
    """Start the sensor's services (systemd), now and at every boot.

    Root installs system services, anybody else services of their own that run on
    after the logout.
    """
    from acoupi.system import start_program

    _warn(start_program(manager=_manager()))
    click.echo("Started, now and at every boot. See what it does: acoupi status")


@click.command()
def stop() -> None:
    """Stop the sensor's services, now and at the next boots.

    Tasks that run are finished first.
    """
    from acoupi.system import stop_program

    warnings = stop_program(manager=_manager())
    _warn(warnings)
    click.echo("Stopped." if warnings else "Stopped; it will not start at boot.")


@click.command()
def restart() -> None:
    """Restart the sensor's services, with the present configuration."""
    from acoupi.system import restart_program

    _warn(restart_program(manager=_manager()))
    click.echo("Restarted. See what it does: acoupi status")


def _manager() -> ServiceManager:
    from acoupi.system.systemctl import ServiceManager

    return ServiceManager(report=lambda line: click.echo(line, err=True))


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        click.echo(f"{click.style('Warning:', fg='yellow')} {warning}", err=True)
