#include "scff_kernels.h"

uint32_t scff_window(const scff_pool_t *pool, uint32_t length, uint32_t index, uint32_t *from, uint32_t *to)
{
    uint32_t start = index * pool->stride; /* counted from the padding's edge */
    uint32_t end = start + pool->size;
    uint32_t edge = length + (2u * pool->padding);
    *from = (start > pool->padding) ? (start - pool->padding) : 0u;
    *to = (end > pool->padding) ? (end - pool->padding) : 0u;
    if (*to > length) {
        *to = length;
    }
    return ((end < edge) ? end : edge) - start;
}

void scff_pool(const scff_pool_t *pool, const int8_t *x, uint32_t channels, uint32_t height, uint32_t width, int8_t *y)
{
    for (uint32_t c = 0; c < channels; c++) {
        for (uint32_t i = 0; i < pool->out_height; i++) {
            uint32_t top = 0;
            uint32_t bottom = 0;
            uint32_t tall = scff_window(pool, height, i, &top, &bottom);
            for (uint32_t j = 0; j < pool->out_width; j++) {
                uint32_t left = 0;
                uint32_t right = 0;
                uint32_t wide = scff_window(pool, width, j, &left, &right);
                int32_t largest = INT8_MIN;
                int32_t sum = 0;
                for (uint32_t row = top; row < bottom; row++) {
                    for (uint32_t column = left; column < right; column++) {
                        int32_t value = x[(((c * height) + row) * width) + column];
                        largest = (value > largest) ? value : largest;
                        sum += value;
                    }
                }
                *y = (int8_t)((pool->kind == SCFF_AVERAGE_POOL) ? scff_divide(sum, tall * wide) : largest);
                y++;
            }
        }
    }
}
