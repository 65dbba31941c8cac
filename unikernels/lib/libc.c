/* What gcc calls even in a freestanding program. The string instructions, as a loop would be made into a call of the function itself. */
#include "uk.h"

#if defined(__x86_64__)

void *memcpy(void *to, const void *from, size_t length) {
    void *at = to;
    __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(length) : : "memory");
    return to;
}

void *memset(void *at, int value, size_t length) {
    void *to = at;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(length) : "a"(value) : "memory");
    return at;
}

#else /* with -fno-builtin clang makes no calls of loops */

void *memcpy(void *to, const void *from, size_t length) {
    for (size_t i = 0; i < length; i++) ((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
    return to;
}

void *memset(void *at, int value, size_t length) {
    for (size_t i = 0; i < length; i++) ((uint8_t *)at)[i] = (uint8_t)value;
    return at;
}

#endif

void *memmove(void *to, const void *from, size_t length) {
    uint8_t *at = to;
    const uint8_t *source = from;
    if (at <= source || at >= source + length) return memcpy(to, from, length);
    while (length-- > 0) at[length] = source[length];
    return to;
}

int memcmp(const void *one, const void *other, size_t length) {
    const uint8_t *a = one, *b = other;
    for (; length > 0; length--, a++, b++)
        if (*a != *b) return *a - *b;
    return 0;
}

size_t strlen(const char *text) {
    size_t length = 0;
    while (text[length] != 0) length++;
    return length;
}
