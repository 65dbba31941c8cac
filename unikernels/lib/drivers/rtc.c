/* The clock that runs on a battery (Motorola MC146818; the century's place is ACPI's, and QEMU's). */
#include "../uk.h"
#include "../uk_drivers.h"

enum { INDEX = 0x70, DATA = 0x71, CENTURY = 0x32, STATUS_A = 0x0a, STATUS_B = 0x0b };
enum { UPDATING = 0x80, BINARY = 0x04, HOURS_24 = 0x02, PM = 0x80, PATIENCE = 100 * 1000 };

static uint8_t get(uint8_t place) {
    uk_out8(INDEX, place);
    return uk_in8(DATA);
}

/* While it counts on, what is read is of the old time and of the new one: so only what was read twice, the same, is right. */
static int get_all(uint8_t fields[7]) {
    static const uint8_t places[7] = {0, 2, 4, 7, 8, 9, CENTURY};
    uint8_t before[7] = {0xff};
    for (int tries = 0; tries < PATIENCE; tries++) {
        if (get(STATUS_A) & UPDATING) continue;
        for (int i = 0; i < 7; i++) fields[i] = get(places[i]);
        if (memcmp(fields, before, 7) == 0) return 0;
        memcpy(before, fields, 7);
    }
    return -1;
}

int uk_rtc_read(uk_date *date) {
    uint8_t fields[7];
    if (get_all(fields) < 0) return -1;
    const uint8_t format = get(STATUS_B);
    const int is_pm = fields[2] & PM;
    fields[2] &= (uint8_t)~PM;
    if (!(format & BINARY))
        for (int i = 0; i < 7; i++) fields[i] = (uint8_t)((fields[i] >> 4) * 10 + (fields[i] & 15));
    if (!(format & HOURS_24)) fields[2] = (uint8_t)(fields[2] % 12 + (is_pm ? 12 : 0));
    const int century = fields[6] >= 19 && fields[6] < 30 ? fields[6] : 20; /* a chip without one has something else there */
    *date = (uk_date){(uint16_t)(100 * century + fields[5]), fields[4], fields[3], fields[2], fields[1], fields[0]};
    return 0;
}
