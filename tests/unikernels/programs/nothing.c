#include "uk.h"

void uk_main(void) {}
