/* Room for the message that is received, unless the program has its own: UK_INBOX. In a file of its own, so that nobody knows its size
   when they are compiled. */
#include "uk.h"

__attribute__((weak)) uint8_t uk_inbox[64 * 1024];
__attribute__((weak)) const uint32_t uk_inbox_size = sizeof uk_inbox;
