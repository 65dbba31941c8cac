/* What a model that moves data by ISA DMA asks of the DMA controllers (models/dma.c). Without them nothing moves. */
#ifndef BEAMLIKE_DMA_CHANNEL_H
#define BEAMLIKE_DMA_CHANNEL_H

#include "bus.h"

enum bl_dma_direction { BL_DMA_TO_MEMORY = 1, BL_DMA_FROM_MEMORY = 2 };

/* The device requests, on channel 0 to 3 or 5 to 7, as long as there is something in the buffer, or room. How many bytes were moved: fewer
   than `size` if the channel is masked or set for the other direction, or its count is through. A channel that verifies counts, and moves
   nothing. Of the channels 5 to 7 only whole words are moved. */
size_t bl_dma_transfer(bl_bus *bus, unsigned channel, uint8_t *buffer, size_t size, int direction);
/* Was the channel's count through with the last byte that was moved (terminal count)? */
int bl_dma_is_over(bl_bus *bus, unsigned channel);

#endif
