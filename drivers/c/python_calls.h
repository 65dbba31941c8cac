/* What C asks of Python: cffi writes these, see build_portbus.py and models/custom.py. */
#ifndef BEAMLIKE_PYTHON_CALLS_H
#define BEAMLIKE_PYTHON_CALLS_H

#include <stdint.h>

uint32_t bl_custom_in(uint64_t handle, unsigned port, unsigned width);
void bl_custom_out(uint64_t handle, unsigned port, unsigned width, uint32_t value);
void bl_custom_run(uint64_t handle);

#endif
