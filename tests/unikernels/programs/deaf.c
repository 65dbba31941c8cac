/* Never looks at its mailbox. */
#include "uk.h"

void uk_main(void) {
    for (volatile uint32_t i = 0;; i++) {}
}
