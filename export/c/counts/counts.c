/*
 * counts.c - executed instructions of one dense layer, counted by SysTick in an emulator whose clock advances by a fixed
 * time per instruction (QEMU's -icount). Instructions are not cycles: stalls and memory latency are not included.
 * `scff-hw bench kernels` builds and runs it.
 */
#include "scff_kernels.h"

#include "semihosting.h"

#if !defined(INPUTS) || !defined(UNITS)
#error "INPUTS and UNITS must define the layer's size"
#endif
#define BATCH 8u
#define COUNTED 1000000u /* iterations of the calibration loops, whose instructions are known */

#define SYST_CSR (*(volatile uint32_t *)0xE000E010u)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014u)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018u)
#define FULL_COUNT 0xFFFFFFu /* 24 bits, counting down */

static int8_t weight[UNITS * INPUTS];
static int16_t shadow[UNITS * INPUTS];
static int32_t bias[UNITS];
static int8_t samples[BATCH * INPUTS];
static int8_t out[UNITS];
static int32_t sums[UNITS];
static uint32_t scratch[(BATCH * (UNITS + 4u + INPUTS)) + (2u * INPUTS)];
static const int8_t weight_frac[1] = {10};

/* The layer of a run of `mnist-500`, except for its size. */
static const scff_layer_t layer = {
    .channels = INPUTS,
    .height = 1u,
    .width = 1u,
    .units = UNITS,
    .out_height = 1u,
    .out_width = 1u,
    .pool = {SCFF_NO_POOL, 1u, 1u, 0u, 1u, 1u},
    .readout_pool = {SCFF_NO_POOL, 1u, 1u, 0u, 1u, 1u},
    .rounding = SCFF_HALF_EVEN,
    .makes_pairs = 1u,
    .triangle = 1u,
    .weight_bits = 8u,
    .shadow_bits = 16u,
    .standardised_bits = 8u,
    .output_bits = 8u,
    .transmitted_bits = 8u,
    .error_bits = 8u,
    .feature_bits = 8u,
    .standardised_frac = 4,
    .pre_activation_frac = 11,
    .output_frac = 3,
    .transmitted_frac = 3,
    .error_frac = 15,
    .feature_frac = 4,
    .weight_frac = weight_frac,
    .weight_fracs = 1u,
    .theta_pos = 128,
    .theta_neg = 192,
    .penalty = 3,
    .mean_factor = 16777,
    .mean_shift = 23,
    .learned_positions = 1u,
    .max_rows = 1000u,
};

static void print(const char *name, uint32_t value)
{
    char text[12];
    char *at = &text[sizeof text - 1u];
    *at = '\0';
    at--;
    *at = '\n';
    do {
        at--;
        *at = (char)('0' + (char)(value % 10u));
        value /= 10u;
    } while (value != 0u);
    semihosting_write(name);
    semihosting_write(" ");
    semihosting_write(at);
}

static void start(void)
{
    SYST_CSR = 0;
    SYST_RVR = FULL_COUNT;
    SYST_CVR = 0;
    SYST_CSR = 5; /* the core's clock, no interrupt */
}

/* Print the ticks since `start`; exits with 1 if the counter has wrapped. */
static void stop(const char *name)
{
    uint32_t left = SYST_CVR;
    if ((SYST_CSR & 0x10000u) != 0u) {
        semihosting_write("FAIL: the counter is too short for ");
        semihosting_write(name);
        semihosting_write("\n");
        semihosting_exit(1);
    }
    print(name, FULL_COUNT - left);
}

/* Two instructions per iteration. */
static void loop_of_two(uint32_t turns)
{
    __asm__ volatile(".syntax unified\n1: subs %0, %0, #1\n bne 1b" : "+l"(turns) : : "cc");
}

/* Five instructions per iteration, of other kinds. */
static void loop_of_five(uint32_t turns)
{
    uint32_t value = 3;
    __asm__ volatile(".syntax unified\n1: ldr %1, [%2]\n muls %1, %0, %1\n eors %1, %0\n subs %0, %0, #1\n bne 1b"
                     : "+l"(turns), "+l"(value)
                     : "l"(&sums[0])
                     : "cc", "memory");
}

int main(void)
{
    const scff_params_t params = {weight, bias};
    const scff_state_t state = {weight, shadow, bias, NULL};
    const scff_batch_t batch = {samples, NULL, NULL, BATCH, 1u, 2};
    uint32_t random = 1;
    for (uint32_t i = 0; i < (UNITS * INPUTS); i++) {
        random = scff_xorshift32(random);
        shadow[i] = (int16_t)((int32_t)(random % 18433u) - 9216);
    }
    scff_read_shadow(&layer, &state);
    for (uint32_t i = 0; i < (BATCH * INPUTS); i++) {
        random = scff_xorshift32(random);
        samples[i] = (int8_t)((int32_t)(random % 255u) - 127);
    }
    start();
    loop_of_two(COUNTED);
    stop("two");
    start();
    loop_of_five(COUNTED);
    stop("five");

    start();
    scff_dots(weight, samples, INPUTS, UNITS, sums);
    stop("mvm");
    uint32_t crc = scff_crc32(0u, (const uint8_t *)sums, sizeof sums);
    start();
    scff_status_t status = scff_forward(&layer, params, samples, out, scratch, sizeof scratch);
    stop("forward");
    if (status != SCFF_OK) {
        return (int)status;
    }
    crc = scff_crc32(crc, (const uint8_t *)out, sizeof out);
    start();
    status = scff_learn(&layer, &state, &batch, NULL, NULL, scratch, sizeof scratch);
    stop("update");
    if (status != SCFF_OK) {
        return (int)status;
    }
    crc = scff_crc32(crc, (const uint8_t *)weight, sizeof weight);
    crc = scff_crc32(crc, (const uint8_t *)shadow, sizeof shadow);
    print("crc", scff_crc32(crc, (const uint8_t *)bias, sizeof bias));
    return 0;
}
