/*
 * Saved bytes, little endian:
 *   0   "SCFF"
 *   4   SCFF_SAVE_VERSION
 *   8   the layer's fingerprint
 *   12  number of bytes that follow, without the CRC
 *   16  stored weights [C][F], 1, 2 or 4 bytes each; biases [C], 4 bytes; generators [C], 4 bytes, if stochastic
 *   end CRC-32 of all preceding bytes
 */
#include "scff_kernels.h"

#define HEADER 16u
#define CRC 4u
#define MAGIC 0x46464353u /* "SCFF" */

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

static uint32_t stored_size(const scff_layer_t *layer)
{
    return (layer->shadow_bits == 0u) ? 1u : ((uint32_t)layer->shadow_bits / 8u);
}

static uint64_t body_size(const scff_layer_t *layer)
{
    uint64_t each = ((uint64_t)scff_fan_in(layer) * stored_size(layer)) + ((layer->stochastic != 0u) ? 8u : 4u);
    return layer->units * each;
}

size_t scff_save_size(const scff_layer_t *layer)
{
    return scff_size(HEADER + body_size(layer) + CRC);
}

static uint8_t byte_of(uint32_t value, size_t index)
{
    return (uint8_t)((value >> (8u * (uint32_t)index)) & 0xFFu);
}

/* Byte `at` of the header. */
static uint8_t header_byte(const scff_layer_t *layer, size_t at)
{
    const uint32_t words[HEADER / 4u] = {MAGIC, SCFF_SAVE_VERSION, layer->fingerprint, (uint32_t)body_size(layer)};
    return byte_of(words[at / 4u], at % 4u);
}

/* Byte `at` after the header. */
static uint8_t body_byte(const scff_layer_t *layer, const scff_saved_t *state, size_t at)
{
    size_t width = (size_t)stored_size(layer);
    size_t stored = scff_at(layer->units, scff_fan_in(layer), 0u) * width;
    if (at < stored) {
        return byte_of((uint32_t)scff_shadow_get(layer, state->weight, state->shadow, at / width), at % width);
    }
    size_t beyond = at - stored;
    size_t unit = beyond / 4u;
    uint32_t word = (unit < layer->units) ? (uint32_t)state->bias[unit] : state->states[unit - layer->units];
    return byte_of(word, beyond % 4u);
}

static uint8_t saved_byte(const scff_layer_t *layer, const scff_saved_t *state, size_t at)
{
    return (at < HEADER) ? header_byte(layer, at) : body_byte(layer, state, at - HEADER);
}

scff_status_t scff_save(const scff_layer_t *layer, const scff_saved_t *state, size_t offset, uint8_t *bytes,
                        size_t size)
{
    if ((layer == NULL) || (state == NULL) || (bytes == NULL)) {
        return SCFF_BAD_ARGUMENT;
    }
    size_t whole = scff_save_size(layer);
    if ((offset > whole) || (size > (whole - offset))) {
        return SCFF_BAD_SIZE;
    }
    uint32_t crc = 0;
    if ((offset + size) > (whole - CRC)) {
        for (size_t at = 0; at < (whole - CRC); at++) {
            uint8_t byte = saved_byte(layer, state, at);
            crc = scff_crc32(crc, &byte, 1u);
        }
    }
    for (size_t i = 0; i < size; i++) {
        size_t at = offset + i;
        bytes[i] = (at < (whole - CRC)) ? saved_byte(layer, state, at) : byte_of(crc, at - (whole - CRC));
    }
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
    if ((get(bytes, 4u) != MAGIC) || (get(&bytes[4], 4u) != SCFF_SAVE_VERSION)) {
        return SCFF_BAD_VERSION;
    }
    if (get(&bytes[8], 4u) != layer->fingerprint) {
        return SCFF_BAD_MODEL;
    }
    size_t body = size - HEADER - CRC;
    if ((body_size(layer) != body) || (get(&bytes[12], 4u) != (uint32_t)body)) {
        return SCFF_BAD_SIZE;
    }
    if (get(&bytes[HEADER + body], 4u) != scff_crc32(0u, bytes, HEADER + body)) {
        return SCFF_BAD_CRC;
    }
    const uint8_t *from = &bytes[HEADER];
    size_t count = scff_at(layer->units, scff_fan_in(layer), 0u);
    uint32_t width = stored_size(layer);
    for (size_t i = 0; i < count; i++) {
        scff_shadow_set(layer, state, i, get_signed(from, width));
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
