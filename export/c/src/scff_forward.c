#include "scff_kernels.h"

#define ROWS 16u /* units of an MVM that are requantised together */

static uint32_t pooled_count(const scff_layer_t *layer)
{
    uint32_t positions = scff_positions(layer);
    return (layer->pool.kind == SCFF_NO_POOL) ? positions : (layer->pool.out_height * layer->pool.out_width);
}

uint32_t scff_inputs(const scff_layer_t *layer)
{
    return layer->channels * layer->height * layer->width;
}

uint32_t scff_padded_inputs(const scff_layer_t *layer)
{
    return layer->channels * (layer->height + (2u * layer->padding)) * (layer->width + (2u * layer->padding));
}

uint32_t scff_fan_in(const scff_layer_t *layer)
{
    return (layer->kernel == 0u) ? scff_inputs(layer) : (layer->channels * layer->kernel * layer->kernel);
}

uint32_t scff_field(const scff_layer_t *layer)
{
    return (layer->kernel == 0u) ? 0u : scff_fan_in(layer);
}

uint32_t scff_positions(const scff_layer_t *layer)
{
    return layer->out_height * layer->out_width;
}

uint32_t scff_transmitted(const scff_layer_t *layer)
{
    return layer->units * pooled_count(layer);
}

uint32_t scff_feature_count(const scff_layer_t *layer)
{
    const scff_pool_t *pool = &layer->readout_pool;
    return (pool->kind == SCFF_NO_POOL) ? scff_transmitted(layer)
                                        : (layer->units * pool->out_height * pool->out_width);
}

void scff_pre_activations(const scff_layer_t *layer, scff_params_t params, const int8_t *x, int8_t *field, int16_t *v)
{
    uint32_t fan_in = scff_fan_in(layer);
    uint32_t kernel = layer->kernel;
    int32_t shift = (int32_t)layer->standardised_frac - (int32_t)layer->pre_activation_frac;
    uint32_t tall = layer->height + (2u * layer->padding);
    uint32_t wide = layer->width + (2u * layer->padding);
    for (uint32_t i = 0; i < layer->out_height; i++) {
        for (uint32_t j = 0; j < layer->out_width; j++) {
            const int8_t *read = x;
            if (kernel != 0u) {
                int8_t *to = field;
                for (uint32_t channel = 0; channel < layer->channels; channel++) {
                    for (uint32_t row = 0; row < kernel; row++) {
                        const int8_t *from = &x[(((channel * tall) + i + row) * wide) + j];
                        for (uint32_t column = 0; column < kernel; column++) {
                            *to = from[column];
                            to++;
                        }
                    }
                }
                read = field;
            }
            for (uint32_t first = 0; first < layer->units; first += ROWS) {
                int32_t sums[ROWS];
                uint32_t count = ((layer->units - first) < ROWS) ? (layer->units - first) : ROWS;
                scff_dots(&params.weight[(size_t)first * fan_in], read, fan_in, count, sums);
                for (uint32_t k = 0; k < count; k++) {
                    int32_t frac = scff_weight_frac(layer, first + k) + shift;
                    /* below 2^31: products of 65 536 inputs are below 2^30, a bias without its guard below 2^23 */
                    int32_t u = sums[k] + scff_round_32(params.bias[first + k], SCFF_BIAS_GUARD_BITS, layer->rounding);
                    *v = (int16_t)scff_requantise_32(u, frac, 16u, layer->rounding);
                    v++;
                }
            }
        }
    }
}

void scff_transmit(const scff_layer_t *layer, const scff_pair_t *pair, int32_t *means, int8_t *y)
{
    uint32_t units = layer->units;
    uint32_t positions = scff_positions(layer);
    const scff_pool_t *pool = &layer->pool;
    int32_t shift = (int32_t)layer->pre_activation_frac - (int32_t)layer->transmitted_frac;
    for (uint32_t p = 0; p < positions; p++) {
        int64_t sum = 0;
        if (layer->triangle != 0u) {
            for (uint32_t unit = 0; unit < units; unit++) {
                sum += scff_paired(layer, pair, scff_at(p, units, unit));
            }
        }
        means[p] = (int32_t)scff_divide(sum, units);
    }
    uint32_t rows = (pool->kind == SCFF_NO_POOL) ? layer->out_height : pool->out_height;
    uint32_t columns = (pool->kind == SCFF_NO_POOL) ? layer->out_width : pool->out_width;
    for (uint32_t unit = 0; unit < units; unit++) {
        for (uint32_t i = 0; i < rows; i++) {
            for (uint32_t j = 0; j < columns; j++) {
                uint32_t top = i;
                uint32_t bottom = i + 1u;
                uint32_t left = j;
                uint32_t right = j + 1u;
                uint32_t covered = 1;
                if (pool->kind != SCFF_NO_POOL) {
                    covered = scff_window(pool, layer->out_height, i, &top, &bottom);
                    covered *= scff_window(pool, layer->out_width, j, &left, &right);
                }
                int32_t largest = 0; /* the output is rectified */
                int32_t sum = 0;
                for (uint32_t row = top; row < bottom; row++) {
                    for (uint32_t column = left; column < right; column++) {
                        uint32_t p = (row * layer->out_width) + column;
                        int32_t z = scff_paired(layer, pair, scff_at(p, units, unit)) - means[p];
                        int32_t t = (z <= 0) ? 0 : scff_requantise_32(z, shift, layer->transmitted_bits, layer->rounding);
                        largest = (t > largest) ? t : largest;
                        sum += t;
                    }
                }
                *y = (int8_t)((pool->kind == SCFF_AVERAGE_POOL) ? scff_divide(sum, covered) : largest);
                y++;
            }
        }
    }
}

/* Scratch of a forward pass: means, then the padded input and a field, of an even number of bytes, pre-activations. */
size_t scff_forward_scratch(const scff_layer_t *layer)
{
    uint64_t positions = scff_positions(layer);
    uint64_t bytes = scff_even((uint64_t)scff_padded_inputs(layer) + scff_field(layer));
    return scff_size((positions * sizeof(int32_t)) + bytes + (positions * layer->units * sizeof(int16_t)));
}

scff_status_t scff_check_scratch(const void *scratch, size_t scratch_bytes, size_t needed)
{
    if (scratch == NULL) {
        return SCFF_BAD_ARGUMENT;
    }
    if (((uintptr_t)scratch % SCFF_ALIGNMENT) != 0u) {
        return SCFF_SCRATCH_UNALIGNED;
    }
    return (scratch_bytes < needed) ? SCFF_SCRATCH_TOO_SMALL : SCFF_OK;
}

scff_status_t scff_forward(const scff_layer_t *layer, scff_params_t params, const int8_t *x, int8_t *y,
                           void *scratch, size_t scratch_bytes)
{
    if ((layer == NULL) || (params.weight == NULL) || (params.bias == NULL) || (x == NULL) || (y == NULL)) {
        return SCFF_BAD_ARGUMENT;
    }
    scff_status_t status = scff_check_scratch(scratch, scratch_bytes, scff_forward_scratch(layer));
    if (status != SCFF_OK) {
        return status;
    }
    uint32_t positions = scff_positions(layer);
    uint32_t inputs = scff_padded_inputs(layer);
    int32_t *means = (int32_t *)scratch;
    int8_t *standardised = (int8_t *)&means[positions];
    int16_t *v = (int16_t *)&standardised[scff_size(scff_even((uint64_t)inputs + scff_field(layer)))];
    scff_reflect(x, standardised, layer->channels, layer->height, layer->width, layer->padding);
    scff_standardise(standardised, inputs, layer->standardised_bits, layer->standardised_frac, layer->rounding);
    scff_pre_activations(layer, params, standardised, &standardised[inputs], v);
    scff_pair_t pair = {v, (layer->makes_pairs != 0u) ? v : NULL, SCFF_WHOLE_HALF};
    scff_transmit(layer, &pair, means, y);
    return SCFF_OK;
}

scff_status_t scff_features(const scff_layer_t *layer, const int8_t *y, int8_t *features)
{
    if ((layer == NULL) || (y == NULL) || (features == NULL)) {
        return SCFF_BAD_ARGUMENT;
    }
    const scff_pool_t *first = &layer->pool;
    uint32_t height = (first->kind == SCFF_NO_POOL) ? layer->out_height : first->out_height;
    uint32_t width = (first->kind == SCFF_NO_POOL) ? layer->out_width : first->out_width;
    uint32_t count = scff_feature_count(layer);
    if (layer->readout_pool.kind == SCFF_NO_POOL) {
        for (uint32_t i = 0; i < count; i++) {
            features[i] = y[i];
        }
    } else {
        scff_pool(&layer->readout_pool, y, layer->units, height, width, features);
    }
    scff_standardise(features, count, layer->feature_bits, layer->feature_frac, layer->rounding);
    return SCFF_OK;
}
