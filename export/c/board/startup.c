/* Start-up of an image on a Cortex-M: vectors, memory, main, exit. Replace it by your board's. */
#include <stdint.h>

#include "semihosting.h"

#define SYS_OPEN 0x01u
#define SYS_READ 0x06u
#define SYS_WRITE0 0x04u
#define SYS_EXIT_EXTENDED 0x20u
#define APPLICATION_EXIT 0x20026u
#define CCR (*(volatile uint32_t *)0xE000ED14u)
#define UNALIGN_TRP 0x8u
#define CPACR (*(volatile uint32_t *)0xE000ED88u)

extern uint32_t link_data_from[], link_data[], link_data_end[], link_bss[], link_bss_end[], link_stack[];

int main(void);
void reset_handler(void);

static uint32_t request(uint32_t number, const void *argument)
{
    register uint32_t r0 __asm__("r0") = number;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void semihosting_write(const char *text)
{
    (void)request(SYS_WRITE0, text);
}

int32_t semihosting_open(const char *name)
{
    uint32_t length = 0;
    while (name[length] != '\0') {
        length++;
    }
    const uint32_t binary = 1u;
    const uintptr_t block[3] = {(uintptr_t)name, binary, length};
    return (int32_t)request(SYS_OPEN, block);
}

int semihosting_read(int32_t file, void *to, uint32_t size)
{
    const uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)to, size};
    return request(SYS_READ, block) == 0u; /* the result is the number of bytes that were not read */
}

void semihosting_exit(int code)
{
    const uint32_t block[2] = {APPLICATION_EXIT, (uint32_t)code};
    for (;;) {
        (void)request(SYS_EXIT_EXTENDED, block);
    }
}

static void fault_handler(void)
{
    semihosting_write("FAIL: a fault\n");
    semihosting_exit(99);
}

void reset_handler(void)
{
#if defined(__ARM_FEATURE_MVE)
    CPACR |= 0xFu << 20; /* vector registers are off after reset */
    __asm__ volatile("dsb\n isb" : : : "memory");
#endif
#if !defined(__ARM_ARCH_6M__) && !defined(SCFF_UNALIGNED)
    CCR |= UNALIGN_TRP; /* trap unaligned words: an image without unaligned accesses runs on every core */
    __asm__ volatile("dsb\n isb" : : : "memory");
#endif
    const uint32_t *from = link_data_from;
    for (uint32_t *to = link_data; to < link_data_end; to++) {
        *to = *from;
        from++;
    }
    for (uint32_t *to = link_bss; to < link_bss_end; to++) {
        *to = 0;
    }
    semihosting_exit(main());
}

typedef void (*handler_t)(void);

typedef struct {
    uint32_t *stack;
    handler_t handlers[15];
} vectors_t;

__attribute__((section(".vectors"), used)) const vectors_t vectors = {
    link_stack,
    {reset_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler,
     fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler,
     fault_handler},
};
