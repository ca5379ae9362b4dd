#include "scff_kernels.h"

#define DRAW_BITS 16 /* random bits per weight */
#define DRAW_HALF 32768 /* 2^(DRAW_BITS - 1) */
#define ROOT_BITS 15

int32_t scff_shadow_get(const scff_layer_t *layer, const int8_t *weight, const void *shadow, size_t at)
{
    switch (layer->shadow_bits) {
    case 8:
        return ((const int8_t *)shadow)[at];
    case 16:
        return ((const int16_t *)shadow)[at];
    case 32:
        return ((const int32_t *)shadow)[at];
    default:
        return weight[at];
    }
}

void scff_shadow_set(const scff_layer_t *layer, const scff_state_t *state, size_t at, int32_t value)
{
    switch (layer->shadow_bits) {
    case 8:
        ((int8_t *)state->shadow)[at] = (int8_t)value;
        break;
    case 16:
        ((int16_t *)state->shadow)[at] = (int16_t)value;
        break;
    case 32:
        ((int32_t *)state->shadow)[at] = value;
        break;
    default:
        break;
    }
    state->weight[at] = (int8_t)scff_requantise_32(value, scff_shadow_guard(layer), layer->weight_bits, layer->rounding);
}

int32_t scff_sub_sat(int32_t before, int64_t change, uint32_t bits)
{
    const int64_t most = scff_power(33u); /* saturates any 32-bit value */
    if (change > most) {
        change = most;
    } else if (change < -most) {
        change = -most;
    } else {
        /* unchanged */
    }
    return scff_saturate((int64_t)before - change, bits);
}

void scff_change(const scff_layer_t *layer, const scff_state_t *state, size_t at, int64_t change)
{
    int32_t before = scff_shadow_get(layer, state->weight, state->shadow, at);
    scff_shadow_set(layer, state, at, scff_sub_sat(before, change, scff_stored_bits(layer)));
}

/* Change of each weight of a unit: gradient * 2^-shift, rounded to nearest; gradients [count], shift 1..31. */
static void change_to_nearest(const scff_layer_t *layer, const scff_state_t *state, size_t first,
                              const int32_t *gradient, uint32_t count, uint32_t shift)
{
    const scff_rounding_t rounding = layer->rounding;
    if (layer->shadow_bits != 16u) {
        for (uint32_t f = 0; f < count; f++) {
            int32_t change = scff_round_32(gradient[f], shift, rounding);
            if (change != 0) {
                scff_change(layer, state, first + (size_t)f, change);
            }
        }
        return;
    }
    /* the usual case, in 32 bits: a change is at most 2^30 */
    int16_t *shadow = &((int16_t *)state->shadow)[first];
    int8_t *weight = &state->weight[first];
    const uint32_t guard = (uint32_t)scff_shadow_guard(layer);
    const uint32_t bits = layer->weight_bits;
    for (uint32_t f = 0; f < count; f++) {
        int32_t change = scff_round_32(gradient[f], shift, rounding);
        if (change != 0) {
            int32_t stored = scff_saturate_32((int32_t)shadow[f] - change, 16u);
            shadow[f] = (int16_t)stored;
            weight[f] = (int8_t)scff_saturate_32(scff_round_32(stored, guard, rounding), bits);
        }
    }
}

void scff_read_shadow(const scff_layer_t *layer, const scff_state_t *state)
{
    size_t count = scff_at(layer->units, scff_fan_in(layer), 0u);
    for (size_t at = 0; at < count; at++) {
        scff_shadow_set(layer, state, at, scff_shadow_get(layer, state->weight, state->shadow, at));
    }
}

/* 16 random bits for weight f of a row: each generator state gives two, the lower half first. */
static uint32_t draw(uint32_t *state, uint32_t *drawn, uint32_t f)
{
    if ((f % 2u) == 0u) {
        *state = scff_xorshift32(*state);
        *drawn = *state;
    } else {
        *drawn >>= DRAW_BITS;
    }
    return *drawn & 0xFFFFu;
}

void scff_start(const scff_layer_t *layer, const scff_state_t *state, uint32_t seed)
{
    uint32_t fan_in = scff_fan_in(layer);
    for (uint32_t unit = 0; unit < layer->units; unit++) {
        uint32_t generator = scff_first_state(seed, unit);
        uint32_t drawn = generator;
        int32_t frac = scff_weight_frac(layer, unit) + scff_shadow_guard(layer);
        int32_t shift = (DRAW_BITS - 1) + ROOT_BITS + layer->root_shift - frac;
        for (uint32_t f = 0; f < fan_in; f++) {
            int32_t sixteen = (int32_t)draw(&generator, &drawn, f) - DRAW_HALF;
            int64_t wide = (int64_t)sixteen * layer->root_factor;
            scff_shadow_set(layer, state, scff_at(unit, fan_in, f),
                      scff_requantise(wide, shift, scff_stored_bits(layer), layer->rounding));
        }
        state->bias[unit] = 0;
        if (layer->stochastic != 0u) {
            state->states[unit] = generator;
        }
    }
}

void scff_seed(const scff_layer_t *layer, const scff_state_t *state, uint32_t seed)
{
    if (layer->stochastic == 0u) {
        return;
    }
    for (uint32_t unit = 0; unit < layer->units; unit++) {
        state->states[unit] = scff_first_state(seed, unit);
    }
}

/* gradient[f] = sum over rows and positions of error * input of weight f */
static void sum_products(const scff_layer_t *layer, const int8_t *x, const int16_t *error, uint32_t rows,
                         int32_t *gradient)
{
    uint32_t fan_in = scff_fan_in(layer);
    uint32_t inputs = scff_padded_inputs(layer);
    uint32_t positions = scff_positions(layer);
    uint32_t kernel = layer->kernel;
    uint32_t tall = layer->height + (2u * layer->padding);
    uint32_t wide = layer->width + (2u * layer->padding);
    for (uint32_t f = 0; f < fan_in; f++) {
        gradient[f] = 0;
    }
    if (kernel == 0u) {
        /* rows with an error of 0, which are common after rectification, are skipped; the others are added in pairs */
        const int8_t *waiting = NULL;
        int32_t factor = 0;
        for (uint32_t row = 0; row < rows; row++) {
            const int8_t *here = &x[(size_t)row * inputs];
            if (error[row] == 0) {
                continue;
            }
            if (waiting == NULL) {
                waiting = here;
                factor = error[row];
            } else {
                scff_add_scaled_pair(gradient, factor, waiting, error[row], here, fan_in);
                waiting = NULL;
            }
        }
        if (waiting != NULL) {
            scff_add_scaled(gradient, factor, waiting, fan_in);
        }
        return;
    }
    for (uint32_t row = 0; row < rows; row++) {
        for (uint32_t f = 0; f < fan_in; f++) {
            uint32_t channel = f / (kernel * kernel);
            uint32_t down = (f / kernel) % kernel;
            uint32_t across = f % kernel;
            for (uint32_t i = 0; i < layer->out_height; i++) {
                const int16_t *errors = &error[((size_t)row * positions) + (i * layer->out_width)];
                uint32_t at = (((channel * tall) + i + down) * wide) + across;
                const int8_t *read = &x[((size_t)row * inputs) + at];
                gradient[f] += scff_dot_wide(errors, read, layer->out_width);
            }
        }
    }
}

void scff_apply_unit(const scff_layer_t *layer, const scff_state_t *state, uint32_t unit, const int32_t *gradient,
                     int64_t error, int32_t rate_shift)
{
    uint32_t fan_in = scff_fan_in(layer);
    size_t first = scff_at(unit, fan_in, 0u);
    int32_t frac = scff_weight_frac(layer, unit);
    int32_t error_frac = layer->error_frac;
    int32_t shift = error_frac + layer->standardised_frac + rate_shift - frac - scff_shadow_guard(layer);
    if (layer->stochastic != 0u) {
        uint32_t *states = state->states;
        uint32_t drawn = states[unit];
        for (uint32_t f = 0; f < fan_in; f++) {
            uint32_t sixteen = draw(&states[unit], &drawn, f);
            int64_t change = ((shift >= 1) && (shift <= 31))
                                 ? scff_round_at_random_32(gradient[f], (uint32_t)shift, sixteen)
                                 : scff_shift_right_at_random(gradient[f], shift, sixteen);
            scff_change(layer, state, first + (size_t)f, change);
        }
    } else if ((shift >= 1) && (shift <= 31)) {
        change_to_nearest(layer, state, first, gradient, fan_in, (uint32_t)shift);
    } else {
        for (uint32_t f = 0; f < fan_in; f++) {
            int64_t change = scff_shift_right(gradient[f], shift, layer->rounding);
            if (change != 0) {
                scff_change(layer, state, first + (size_t)f, change);
            }
        }
    }
    int32_t bias_frac = frac + layer->standardised_frac + SCFF_BIAS_GUARD_BITS;
    int64_t change = scff_shift_right(error, error_frac + rate_shift - bias_frac, layer->rounding);
    state->bias[unit] = scff_sub_sat(state->bias[unit], change, SCFF_BIAS_BITS);
}

void scff_update_unit(const scff_layer_t *layer, const scff_state_t *state, uint32_t unit, const int8_t *x,
                      const int16_t *error, uint32_t rows, int32_t rate_shift, int32_t *gradient)
{
    int64_t sum = 0;
    for (size_t i = 0; i < ((size_t)rows * scff_positions(layer)); i++) {
        sum += error[i];
    }
    sum_products(layer, x, error, rows, gradient);
    scff_apply_unit(layer, state, unit, gradient, sum, rate_shift);
}
