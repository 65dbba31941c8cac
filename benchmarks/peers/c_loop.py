"""The loop of hasher.c alone, in a program of its own that gcc has compiled as the toolkit does."""

import subprocess
import tempfile
from pathlib import Path

from benchmarks import bench
from benchmarks.bench import Bench, emit

PROGRAM = """
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
static uint32_t djb2(const uint8_t *text, uint32_t length, uint64_t repetitions) {
    uint32_t hash = 5381;
    for (; repetitions > 0; repetitions--)
        for (uint32_t i = 0; i < length; i++) hash = hash * 33 + text[i];
    return hash;
}
int main(void) {
    static uint8_t text[10000];
    struct timespec begun, over;
    memset(text, 'x', sizeof text);
    clock_gettime(CLOCK_MONOTONIC, &begun);
    volatile uint32_t hash = djb2(text, sizeof text, 100000);
    (void)hash;
    clock_gettime(CLOCK_MONOTONIC, &over);
    printf("%.15f\\n", (over.tv_sec - begun.tv_sec + (over.tv_nsec - begun.tv_nsec) / 1e9) / 1e9);
}
"""


def djb2(bench: Bench) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "loop.c"), Path(folder, "loop")
        source.write_text(PROGRAM)
        subprocess.run(["gcc", "-Os", "-fno-builtin", str(source), "-o", str(program)], check=True)
        emit("djb2", "seconds", [float(subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout)])


if __name__ == "__main__":
    bench.main(subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0], {"djb2": djb2})
