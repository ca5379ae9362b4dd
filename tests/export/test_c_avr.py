"""The runtime on a machine whose int and size_t have 16 bits: AVR, compiled and emulated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scff_hw.export.c.model import export_c
from scff_hw.paths import export

IRIS = (
    *("layers.*.learn.optimiser=sgd", "layers.*.learn.epochs=1", "layers.*.learn.weight_decay=0"),
    *("layers.*.learn.learning_rate=0.3", "readout.solver=ridge", "controls.backprop=null", "controls.untrained=false"),
)
BOARD = """\
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include "selftest.h"

int main(void)
{
    UCSR0B = (uint8_t)(1u << TXEN0);
    for (const char *text = scff_model_iris_mlp_selftest_message(scff_model_iris_mlp_selftest()); *text != 0; text++) {
        while ((UCSR0A & (1u << UDRE0)) == 0) {
        }
        UDR0 = (uint8_t)*text;
    }
    cli();
    sleep_mode(); /* with interrupts off it ends the emulation */
    return 0;
}
"""


def test_an_exported_run_proves_itself_on_an_avr(
    finished: Any, tmp_path: Path, call: Any, tool: Any, warnings: list[str]
) -> None:
    """Without a warning; the scratch of the selftest is a plain array, which there is aligned to one byte."""
    compiler, emulator = tool("avr-gcc"), tool("simavr")
    out = tmp_path / "out"
    export_c(finished("iris-mlp", *IRIS), out)
    (tmp_path / "avr.c").write_text(BOARD)
    sources = [*sorted((out / "scff" / "src").glob("*.c")), out / "model_iris_mlp.c", out / "selftest.c"]
    flags = ["-mmcu=atmega2560", *warnings, "-O2", f"-I{out / 'scff' / 'include'}", f"-I{out}"]
    call(compiler, *flags, *sources, tmp_path / "avr.c", "-o", tmp_path / "avr.elf")
    said = call(emulator, "-m", "atmega2560", "-f", "16000000", tmp_path / "avr.elf", timeout=120)
    assert "PASS model_iris_mlp: 8 answers and 3 updates" in said
    pulses = export() / "crossbar"
    call(compiler, *flags, f"-I{pulses}", "-c", pulses / "scff_pulses.c", "-o", tmp_path / "pulses.o")
