/* How a unikernel begins on the bare machine: from PVH's 32-bit entry to 64-bit C, and what the processor looks up when it is interrupted.

   PVH (xen/docs/misc/pvh.pandoc): protected mode, flat segments, no paging, no interrupts. QEMU finds the entry in the note. */
        .section .note.pvh, "a", @note
        .long   4, 8, 18                /* of name and value; XEN_ELFNOTE_PHYS32_ENTRY of xen/include/public/elfnote.h */
        .asciz  "Xen"
        .quad   start

        .section .text.start, "ax"
        .code32
        .globl  start
start:  cld                             /* the pages of the program, 2 MiB each, where they are; plat_bare.c maps the rest */
        movl    $pointers + 3, root
        mov     $pointers, %edi
        mov     $uk_pages + 3, %eax
1:      mov     %eax, (%edi)
        add     $8, %edi
        add     $4096, %eax
        cmp     $uk_pages + 4 * 4096, %eax
        jb      1b
        mov     $uk_pages, %edi
        mov     $0x83, %eax             /* present, writable, large */
2:      mov     %eax, (%edi)
        add     $8, %edi
        add     $0x200000, %eax
        cmp     $uk_image_end, %eax
        jb      2b

        mov     $root, %eax
        mov     %eax, %cr3
        mov     $0x620, %eax            /* PAE, OSFXSR, OSXMMEXCPT */
        mov     %eax, %cr4
        mov     $0xc0000080, %ecx       /* EFER: LME, NXE */
        rdmsr
        or      $0x900, %eax
        wrmsr
        mov     $0x80010033, %eax       /* PG, WP, NE, ET, MP, PE; not EM, TS: SSE is on */
        mov     %eax, %cr0
        lgdt    gdt_pointer
        ljmp    $8, $long_mode

        .code64
long_mode:
        mov     $16, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $24, %eax
        ltr     %ax
        fninit
        mov     $uk_stack_top, %esp
        xor     %ebp, %ebp
        call    uk_start
        ud2

/* 32 exceptions: which one it is, the address that `call` leaves tells, and below that is what the processor has pushed. */
        .section .text.exceptions, "ax"
        .balign 8
        .globl  uk_exceptions
uk_exceptions:
        .rept   32
        call    1f
        .balign 8
        .endr
1:      pop     %rdi
        sub     $uk_exceptions, %rdi
        shr     $3, %edi
        mov     %rsp, %rsi
        cld
        and     $-16, %rsp
        call    uk_crashed

/* An interrupt ends a `hlt`, and that is all. */
        .globl  uk_interrupt
uk_interrupt:
        iretq

/* The descriptors: nothing, 64-bit code, data, and the task state, which names the stack of all exceptions and interrupts. */
        .section .data.descriptors, "aw"
        .balign 8
gdt:    .quad   0, 0x00af9b000000ffff, 0x00cf93000000ffff
        .word   103
        .long   task_state + 0x89000000 /* below 16 MiB: its three bytes, and what it is */
        .quad   0
        .word   0
gdt_pointer:
        .word   gdt_pointer - gdt - 1
        .long   gdt
        .balign 8
task_state:
        .fill   36
        .quad   crash_stack_top         /* IST1 */
        .fill   58
        .word   104                     /* no map of ports */

        .section .bss.tables, "aw", @nobits
        .balign 4096
root:           .skip 4096
pointers:       .skip 4096
        .globl  uk_pages
uk_pages:       .skip 4 * 4096          /* of 4 GiB */
        .skip   2048
crash_stack_top:

        .section .note.GNU-stack, "", @progbits
