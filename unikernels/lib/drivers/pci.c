/* PCI's configuration space, by mechanism 1 (PCI Local Bus Specification 3.0, 3.2.2.3.2). */
#include "../uk_drivers.h"

enum { ADDRESS = 0xcf8, DATA = 0xcfc, NUMBERS = 0x00, HEADER_TYPE = 0x0c };
#define ENABLED 0x80000000u
#define MANY_FUNCTIONS 0x00800000u

uint32_t uk_pci_read(int function, uint8_t at) {
    uk_out32(ADDRESS, ENABLED | (uint32_t)function << 8 | at);
    return uk_in32(DATA);
}

void uk_pci_write(int function, uint8_t at, uint32_t value) {
    uk_out32(ADDRESS, ENABLED | (uint32_t)function << 8 | at);
    uk_out32(DATA, value);
}

int uk_pci_find(uint16_t vendor, uint16_t device) {
    for (int function = 0; function < 0x10000; function++) {
        const uint32_t numbers = uk_pci_read(function, NUMBERS);
        if (numbers == ((uint32_t)device << 16 | vendor)) return function;
        if (function % 8 == 0 && (numbers == UINT32_MAX || !(uk_pci_read(function, HEADER_TYPE) & MANY_FUNCTIONS)))
            function += 7; /* the other functions of this device answer for the first, or not at all */
    }
    return -1;
}
