#include "scff_kernels.h"

int32_t scff_dot(const int8_t *a, const int8_t *b, uint32_t count)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += (int32_t)a[i] * (int32_t)b[i];
    }
    return sum;
}

int32_t scff_dot_wide(const int16_t *a, const int8_t *b, uint32_t count)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += (int32_t)a[i] * (int32_t)b[i];
    }
    return sum;
}

void scff_add_scaled(int32_t *sum, int32_t a, const int8_t *x, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        sum[i] += a * (int32_t)x[i];
    }
}
