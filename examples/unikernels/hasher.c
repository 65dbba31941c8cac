/* Hashes: a message (pid, repetitions, text) is answered by (pid, hash) to that pid, HydrOS's own demonstration; the hash is DJB2's, of the text
   so many times. A call ("djb2", repetitions, text) or ("sha256", data) is answered with the hash. */
#include "uk.h"

static uint32_t djb2(const uint8_t *text, uint32_t length, int64_t repetitions) {
    uint32_t hash = 5381;
    for (; repetitions > 0; repetitions--) {
        uk_beat(); /* however long it takes, it lives */
        for (uint32_t i = 0; i < length; i++) hash = hash * 33 + text[i];
    }
    return hash;
}

/* FIPS 180-4. */
static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t turned(uint32_t word, int by) { return word >> by | word << (32 - by); }

static void sha256_block(uint32_t state[8], const uint8_t *block) {
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + (turned(w[i - 15], 7) ^ turned(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
               (turned(w[i - 2], 17) ^ turned(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
        const uint32_t one = s[7] + (turned(s[4], 6) ^ turned(s[4], 11) ^ turned(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + K[i] + w[i];
        const uint32_t two = (turned(s[0], 2) ^ turned(s[0], 13) ^ turned(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += one;
        s[0] = one + two;
    }
    for (int i = 0; i < 8; i++) state[i] += s[i];
}

static void sha256(const uint8_t *data, uint32_t length, uint8_t digest[32]) {
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint8_t end[128] = {0};
    uint32_t at = 0;
    for (; length - at >= 64; at += 64) sha256_block(state, data + at);
    const uint32_t left = length - at, blocks = left < 56 ? 1 : 2;
    memcpy(end, data + at, left);
    end[left] = 0x80;
    for (int i = 0; i < 8; i++) end[64 * blocks - 1 - (uint32_t)i] = (uint8_t)((uint64_t)length * 8 >> 8 * i);
    for (uint32_t i = 0; i < blocks; i++) sha256_block(state, end + 64 * i);
    for (int i = 0; i < 32; i++) digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}

/* (pid, repetitions, text) */
static void hash_for(uk_reader *r) {
    uint8_t out[64];
    uint32_t length;
    const uk_pid to = uk_read_pid(r);
    const int64_t repetitions = uk_read_int(r);
    const uint8_t *text = uk_read_bytes(r, &length);
    if (r->failed || repetitions < 0) {
        uk_log("hasher: a message is (pid, repetitions, text)");
        return;
    }
    uk_writer w = uk_write(out, sizeof out);
    uk_write_tuple(&w, 2);
    uk_write_pid(&w, UK_SELF);
    uk_write_int(&w, djb2(text, length, repetitions));
    uk_send(to, out, uk_written(&w));
}

/* ("djb2", repetitions, text), ("sha256", data) */
static void answer(uk_reader *r, uint64_t call) {
    uint8_t out[64], digest[32];
    uint32_t length = 0, data_length = 0;
    uk_writer w = uk_write(out, sizeof out);
    const uint32_t items = uk_read_tuple(r);
    const char *what = uk_read_str(r, &length);
    const int64_t repetitions = items == 3 ? uk_read_int(r) : 1;
    const uint8_t *data = uk_read_bytes(r, &data_length);
    if (!r->failed && items == 3 && repetitions >= 0 && uk_is(what, length, "djb2"))
        uk_write_int(&w, djb2(data, data_length, repetitions));
    else if (!r->failed && items == 2 && uk_is(what, length, "sha256")) {
        sha256(data, data_length, digest);
        uk_write_bytes(&w, digest, sizeof digest);
    } else
        uk_write_nil(&w);
    uk_reply(call, out, uk_written(&w));
}

void uk_main(void) {
    uk_message m;
    uk_receive(&m, UK_FOREVER); /* the arguments */
    for (;;) {
        const int kind = uk_receive(&m, UK_FOREVER);
        uk_reader r = uk_read_message(&m);
        if (kind == UK_CALL)
            answer(&r, m.call);
        else if (kind == UK_MESSAGE && uk_read_tuple(&r) == 3)
            hash_for(&r);
    }
}
