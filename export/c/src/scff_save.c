/*
 * Saved bytes, little endian:
 *   0   "SCFF"
 *   4   SCFF_SAVE_VERSION
 *   8   the layer's fingerprint
 *   12  bytes of what follows, without the CRC
 *   16  what updates change [C][F], 1, 2 or 4 bytes each; biases [C], 4 bytes; generators [C], 4 bytes, if stochastic
 *   end CRC-32 of all before it
 */
#include "scff_kernels.h"

#define HEADER 16u
#define CRC 4u

uint32_t scff_crc32(uint32_t crc, const uint8_t *bytes, size_t size)
{
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (uint32_t bit = 0; bit < 8u; bit++) {
            crc = ((crc & 1u) != 0u) ? ((crc >> 1) ^ 0xEDB88320u) : (crc >> 1);
        }
    }
    return ~crc;
}

static uint8_t *put(uint8_t *to, uint32_t value, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        to[i] = (uint8_t)((value >> (8u * i)) & 0xFFu);
    }
    return &to[size];
}

static uint32_t get(const uint8_t *from, uint32_t size)
{
    uint32_t value = 0;
    for (uint32_t i = 0; i < size; i++) {
        value |= (uint32_t)from[i] << (8u * i);
    }
    return value;
}

/* Two's complement of `size` bytes, without relying on how a compiler narrows. */
static int32_t get_signed(const uint8_t *from, uint32_t size)
{
    int64_t value = get(from, size);
    int64_t half = scff_power((8u * size) - 1u);
    return (int32_t)((value >= half) ? (value - (2 * half)) : value);
}

static uint32_t held_size(const scff_layer_t *layer)
{
    return (layer->shadow_bits == 0u) ? 1u : ((uint32_t)layer->shadow_bits / 8u);
}

static size_t body_size(const scff_layer_t *layer)
{
    size_t each = ((size_t)scff_fan_in(layer) * held_size(layer)) + ((layer->stochastic != 0u) ? 8u : 4u);
    return layer->units * each;
}

size_t scff_save_size(const scff_layer_t *layer)
{
    return HEADER + body_size(layer) + CRC;
}

scff_status_t scff_save(const scff_layer_t *layer, const scff_saved_t *state, uint8_t *bytes, size_t size)
{
    if ((layer == NULL) || (state == NULL) || (bytes == NULL)) {
        return SCFF_BAD_ARGUMENT;
    }
    if (size < scff_save_size(layer)) {
        return SCFF_BAD_SIZE;
    }
    static const uint8_t magic[4] = {0x53u, 0x43u, 0x46u, 0x46u};
    uint8_t *to = bytes;
    for (uint32_t i = 0; i < 4u; i++) {
        to = put(to, magic[i], 1u);
    }
    to = put(to, SCFF_SAVE_VERSION, 4u);
    to = put(to, layer->fingerprint, 4u);
    to = put(to, (uint32_t)body_size(layer), 4u);
    size_t count = (size_t)layer->units * scff_fan_in(layer);
    uint32_t width = held_size(layer);
    for (size_t i = 0; i < count; i++) {
        to = put(to, (uint32_t)scff_held(layer, state->weight, state->shadow, i), width);
    }
    for (uint32_t unit = 0; unit < layer->units; unit++) {
        to = put(to, (uint32_t)state->bias[unit], 4u);
    }
    if (layer->stochastic != 0u) {
        for (uint32_t unit = 0; unit < layer->units; unit++) {
            to = put(to, state->states[unit], 4u);
        }
    }
    (void)put(to, scff_crc32(0u, bytes, HEADER + body_size(layer)), 4u);
    return SCFF_OK;
}

scff_status_t scff_load(const scff_layer_t *layer, const scff_state_t *state, const uint8_t *bytes, size_t size)
{
    if ((layer == NULL) || (state == NULL) || (bytes == NULL)) {
        return SCFF_BAD_ARGUMENT;
    }
    if (size < (HEADER + CRC)) {
        return SCFF_BAD_SIZE;
    }
    if ((get(bytes, 4u) != 0x46464353u) || (get(&bytes[4], 4u) != SCFF_SAVE_VERSION)) {
        return SCFF_BAD_VERSION;
    }
    if (get(&bytes[8], 4u) != layer->fingerprint) {
        return SCFF_BAD_MODEL;
    }
    size_t body = body_size(layer);
    if ((size != (HEADER + body + CRC)) || (get(&bytes[12], 4u) != (uint32_t)body)) {
        return SCFF_BAD_SIZE;
    }
    if (get(&bytes[HEADER + body], 4u) != scff_crc32(0u, bytes, HEADER + body)) {
        return SCFF_BAD_CRC;
    }
    const uint8_t *from = &bytes[HEADER];
    size_t count = (size_t)layer->units * scff_fan_in(layer);
    uint32_t width = held_size(layer);
    for (size_t i = 0; i < count; i++) {
        scff_hold(layer, state, i, get_signed(from, width));
        from = &from[width];
    }
    for (uint32_t unit = 0; unit < layer->units; unit++) {
        state->bias[unit] = get_signed(from, 4u);
        from = &from[4];
    }
    if (layer->stochastic != 0u) {
        for (uint32_t unit = 0; unit < layer->units; unit++) {
            state->states[unit] = get(from, 4u);
            from = &from[4];
        }
    }
    return SCFF_OK;
}
