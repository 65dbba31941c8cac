/* A hostile peer: garbage in everything that is shared, at rest and while we are at it. Argument: a factor.

The memory ends where the pair ends, so that the address sanitizer sees any access outside. */
#include "ring_test.h"

#include <pthread.h>

static uint64_t state = 1;
static uint64_t random64(void) { return state = scramble(state); }

/* Numbers that are near something. */
static uint64_t nasty(uint64_t near) {
    switch (random64() % 8) {
    case 0: return random64();
    case 1: return UINT32_MAX;
    case 2: return 0;
    case 3: return near + CAPACITY;
    case 4: return near - 8;
    case 5: return near + random64() % CAPACITY;
    case 6: return near + random64() % 64 * 8;
    default: return random64() % 1024;
    }
}

static uint8_t buffer[LONGEST];
static uint64_t refused, survived;

/* Read and write until nothing moves. What comes out can only be what a record may be. */
static void use(pair *p) {
    bl_record record;
    int64_t got;
    for (int i = 0; i < 64 && (got = bl_read(&p->reader, &record, buffer, sizeof buffer)) >= 0; i++)
        CHECK(got <= LONGEST && record.length == got && record.kind != 0 && !(record.flags & BL_MORE));
    CHECK(got >= 0 || got == -BL_EAGAIN || got == -BL_EIO || got == -BL_EBADMSG);
    refused += got == -BL_EIO || got == -BL_EBADMSG;
    survived += got == -BL_EAGAIN;
    CHECK((got == -BL_EIO || got == -BL_EBADMSG) == p->reader.broken);
    if (p->reader.broken) {
        CHECK(bl_read(&p->reader, &record, buffer, sizeof buffer) == -BL_EBADMSG);
        CHECK(bl_sleep(&p->reader) == -BL_EBADMSG && bl_room_wanted(&p->reader) == -BL_EBADMSG);
    } else {
        const int outcome = bl_sleep(&p->reader);
        CHECK(outcome == 0 || outcome == 1);
        bl_wake(&p->reader);
    }
    for (uint64_t n = 0; n < 8; n++) {
        uint32_t offset = (uint32_t)p->writer.written;
        const int outcome = offset > 0 ? bl_write(&p->writer, 1, 0, 0, 0, 0, buffer, 8) : write_message(&p->writer, n, &offset);
        CHECK(outcome == 0 || outcome == 1 || outcome == -BL_EAGAIN || outcome == -BL_EBUSY || outcome == -BL_EBADMSG);
        CHECK((outcome == -BL_EBADMSG) == p->writer.broken);
    }
}

static void fill(pair *p) {
    const uint64_t count = random64() % 20;
    uint32_t offset = 0;
    for (uint64_t n = 0; n < count && write_message(&p->writer, n, &offset) >= 0; n++) offset = 0;
}

static void garbage_at_rest(void *memory) {
    pair p;
    memset(memory, 0, bl_pair_size(CAPACITY, CAPACITY));
    open_pair(&p, memory);
    if (random64() % 2) p.writer = p.back_writer, p.reader = p.back_reader; /* the one at the end of the memory */
    fill(&p);
    if (random64() % 2) {
        while (bl_read(&p.reader, &(bl_record){0}, buffer, sizeof buffer) >= 0) {}
        fill(&p);
    }
    switch (random64() % 4) {
    case 0: atomic_store(&p.reader.lines->tail, nasty(p.writer.tail)); break;
    case 1: atomic_store(&p.writer.lines->head, nasty(p.writer.tail)); break;
    case 2: /* words of records, mostly headers: with right positions */
        for (uint64_t i = random64() % 4; i-- > 0;) ((uint32_t *)(void *)p.writer.data)[random64() % 256] = (uint32_t)nasty(64);
        ((uint32_t *)(void *)(p.writer.data + p.reader.head % CAPACITY))[random64() % 10] ^= (uint32_t)nasty(64);
        break;
    default: /* all of it */
        for (uint64_t i = 0; i < CAPACITY / 8; i++) ((uint64_t *)(void *)p.writer.data)[i] = nasty(i);
        atomic_store(&p.reader.lines->sleeping, random64());
        atomic_store(&p.reader.lines->tail, 8 * (random64() % 512));
    }
    use(&p);
}

/* A record with a right CRC and a payload of zeroes, at a position in our ring; all is published up to `tail`. */
static void forge(pair *p, uint64_t position, bl_record record, uint64_t tail) {
    static uint8_t bytes[CAPACITY];
    memset(bytes, 0, sizeof bytes);
    record.crc = 0;
    memcpy(bytes, &record, sizeof record);
    record.crc = bl_crc32c(bytes, sizeof record + record.length);
    memcpy(bytes, &record, sizeof record);
    memcpy(p->writer.data + position % CAPACITY, bytes, sizeof record + record.length);
    atomic_store(&p->writer.lines->tail, tail);
}

/* What a writer of ours never writes, with nothing but one rule broken. */
static void forged(void *memory) {
    const uint64_t near_the_end = CAPACITY - 64;
    const uint32_t largest = bl_largest(CAPACITY);
    const struct { uint64_t at; bl_record record; uint64_t published; int64_t expected; } table[] = {
        {0, {.length = 8, .kind = 1}, 48, 8},
        {0, {.length = 8, .kind = 0}, 48, -BL_EBADMSG},
        {0, {.length = 8, .kind = 1, .sequence = 1}, 48, -BL_EBADMSG},
        {0, {.length = 8, .kind = 1, .reserved = 1}, 48, -BL_EBADMSG},
        {0, {.length = 8, .kind = 1}, 40, -BL_EBADMSG},                       /* not all of it is published */
        {0, {.length = 0, .kind = 1, .flags = BL_MORE}, 40, -BL_EBADMSG},     /* a message that would never end */
        {0, {.length = largest, .kind = 1}, CAPACITY / 8, largest},
        {0, {.length = largest + 1, .kind = 1}, CAPACITY / 8 + 8, -BL_EBADMSG},
        {near_the_end, {.length = 24, .kind = 1}, 64, 24},
        {near_the_end, {.length = 25, .kind = 1}, 72, -BL_EBADMSG},           /* across the end of the data */
    };
    pair p;
    bl_record record;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        memset(memory, 0, bl_pair_size(CAPACITY, CAPACITY));
        open_pair(&p, memory);
        p.reader.head = p.reader.tail = table[i].at;
        forge(&p, table[i].at, table[i].record, table[i].at + table[i].published);
        CHECK(bl_read(&p.reader, &record, buffer, sizeof buffer) == table[i].expected);
    }
    /* Another message in the middle of one. */
    memset(memory, 0, bl_pair_size(CAPACITY, CAPACITY));
    open_pair(&p, memory);
    forge(&p, 0, (bl_record){.length = 8, .kind = 1, .flags = BL_MORE}, 48);
    CHECK(bl_read(&p.reader, &record, buffer, sizeof buffer) == -BL_EAGAIN);
    forge(&p, 48, (bl_record){.length = 8, .kind = 1, .sequence = 1, .to = 1}, 96);
    CHECK(bl_read(&p.reader, &record, buffer, sizeof buffer) == -BL_EBADMSG);
    /* A padding after which nothing is published. */
    memset(memory, 0, bl_pair_size(CAPACITY, CAPACITY));
    open_pair(&p, memory);
    p.reader.head = p.reader.tail = near_the_end;
    ((uint32_t *)(void *)(p.writer.data + near_the_end))[0] = BL_PADDING;
    ((uint32_t *)(void *)(p.writer.data + near_the_end))[1] = bl_crc32c(&near_the_end, 8);
    forge(&p, CAPACITY, (bl_record){.length = 8, .kind = 1}, near_the_end + 8);
    CHECK(bl_read(&p.reader, &record, buffer, sizeof buffer) == -BL_EBADMSG);
    /* Longer than `longest`: records of one message that does not end. */
    memset(memory, 0, bl_pair_size(CAPACITY, CAPACITY));
    open_pair(&p, memory);
    p.writer.longest = UINT32_MAX;
    static uint8_t endless[2 * LONGEST];
    uint32_t offset = 0;
    int64_t got;
    do {
        CHECK(bl_write_part(&p.writer, 1, 0, 0, 0, 0, endless, sizeof endless, &offset) >= 0);
    } while ((got = bl_read(&p.reader, &record, buffer, sizeof buffer)) == -BL_EAGAIN);
    CHECK(got == -BL_EBADMSG && p.reader.gathered <= LONGEST);
}

static void garbage_in_the_header(void *memory) {
    const uint64_t size = bl_pair_size(CAPACITY, CAPACITY);
    bl_writer writer;
    bl_reader reader;
    memset(memory, 0, size);
    CHECK(bl_pair_format(memory, size, CAPACITY, CAPACITY) == 0);
    uint32_t *const words = memory;
    const uint64_t word = random64() % (sizeof(bl_pair_header) / 4);
    const uint32_t before = words[word];
    words[word] = (uint32_t)nasty(before);
    const int outcome = bl_open(memory, size, (unsigned)(random64() % 2), LONGEST, &writer, &reader);
    const int harmless = words[word] == before || word == 5; /* `reserved` may mean something later */
    CHECK(harmless ? outcome == 0 : outcome == -BL_EBADMSG || outcome == -BL_EPROTONOSUPPORT);
}

static _Atomic int is_over;

static void *scribble(void *argument) {
    pair *const p = argument;
    for (uint64_t x = 99; !atomic_load(&is_over);) {
        x = scramble(x);
        volatile uint32_t *const words = (volatile uint32_t *)(void *)p->writer.data;
        words[x % (CAPACITY / 4)] = (uint32_t)(x >> 32);
        if (x % 64 == 0) atomic_store(&p->writer.lines->tail, x >> 40 << 3);
        if (x % 64 == 1) atomic_store(&p->writer.lines->head, x >> 40 << 3);
    }
    return NULL;
}

/* Between our look at a word and its use it changes. */
static void garbage_meanwhile(void *memory, uint64_t rounds) {
    pair p, fresh;
    memset(memory, 0, bl_pair_size(CAPACITY, CAPACITY));
    open_pair(&p, memory);
    fresh = p;
    pthread_t enemy;
    CHECK(pthread_create(&enemy, NULL, scribble, &fresh) == 0);
    while (rounds-- > 0) {
        p = fresh; /* whole again, so that there is something to break */
        atomic_store(&p.writer.lines->tail, 0);
        atomic_store(&p.writer.lines->head, 0);
        uint32_t offset = 0;
        for (uint64_t n = 0; n < 4 && write_message(&p.writer, n, &offset) >= 0; n++) offset = 0;
        use(&p);
    }
    atomic_store(&is_over, 1);
    pthread_join(enemy, NULL);
}

int main(int argc, char **argv) {
    (void)argc;
    const uint64_t rounds = count_of(argv, 5000);
    void *const memory = aligned_alloc(BL_PAGE, bl_pair_size(CAPACITY, CAPACITY));
    forged(memory);
    for (uint64_t i = 0; i < rounds; i++) garbage_at_rest(memory);
    for (uint64_t i = 0; i < rounds; i++) garbage_in_the_header(memory);
    CHECK(refused > rounds / 10 && survived > rounds / 10);
    garbage_meanwhile(memory, rounds);
    free(memory);
    printf("%llu refused, %llu survived\n", (unsigned long long)refused, (unsigned long long)survived);
}
