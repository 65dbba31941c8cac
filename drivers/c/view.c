#include "view.h"

#include <errno.h>

void bl_refuse_ports(bl_view *view, uint32_t first, uint32_t last) {
    for (uint32_t port = first; port <= last && port < BL_PORTS; port++) view->refused[port >> 3] |= (uint8_t)(1u << (port & 7));
}

int bl_may_port(const bl_view *view, int64_t port, unsigned width) {
    if ((width != 1 && width != 2 && width != 4) || port < 0 || port > BL_PORTS - (int64_t)width) return -ERANGE;
    for (int64_t each = port; each < port + width; each++)
        if (view->refused[each >> 3] >> (each & 7) & 1) return -EACCES;
    return 0;
}

int bl_may_memory(const bl_view *view, uint64_t address, uint64_t length) {
    const uint64_t last = address + length - 1;
    if (length == 0 || last < address) return -ERANGE;
    uint32_t low = 0, high = view->count; /* the first range that does not end before the access */
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (view->memory[middle].last < address) low = middle + 1;
        else high = middle;
    }
    return low < view->count && view->memory[low].first <= last ? -EACCES : 0;
}
