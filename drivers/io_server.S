/* The firmware of an IoServer's machine: a processor that does port I/O, and what else only a processor can, for somebody else.

   It is entered at reset, leaves real mode at once, and looks for commands in a block at 0x500, which the host has mapped. After SPINS
   looks it sleeps; a non-maskable interrupt, which the host injects, wakes it. One that comes just before `hlt` is lost: the host injects
   again until it has its answer.

   The block, of 32-bit words: command, width in bytes, port or address or leaf, value or subleaf or count, asleep; results from 0x520 on
   (4 words); 4 KiB of data from 0x800 on. A command becomes 0 when it is done. An exception resets the machine.

   It lies at the beginning of the ROM, and the reset vector jumps to it. Assemble: gcc -m32 -c io_server.S; the .text section is io_server.bin
   (a test compares). */
        .equ ROM, 0xffff0000
        .equ COMMAND, 0x500
        .equ WIDTH, 0x504
        .equ AT, 0x508
        .equ VALUE, 0x50c
        .equ ASLEEP, 0x510
        .equ RESULT, 0x520
        .equ STACK, 0x700
        .equ DATA, 0x800
        .equ SPINS, 300000
        .equ LINT1, 0xfee00360
        .equ NMI, 0x400

        .text
        .code16
start:  cli
        lgdtl %cs:(gdtr - start)
        movl %cr0, %eax
        orb $1, %al
        movl %eax, %cr0
        ljmpl $8, $(ROM + enter - start)

        .code32
enter:  movl $16, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %ss
        movl $STACK, %esp
        lidt ROM + idtr - start
        movl $NMI, LINT1
        cld

idle:   movl $SPINS, %ecx
look:   cmpl $0, COMMAND
        jne serve
        decl %ecx
        jnz look
        movl $1, %eax
        xchgl %eax, ASLEEP      /* before the last look */
        cmpl $0, COMMAND
        jne awake
        hlt
awake:  movl $0, ASLEEP
        jmp idle

serve:  movl COMMAND, %eax
        movl WIDTH, %ebx
        movl AT, %edx
        decl %eax
        je do_in
        decl %eax
        je do_out
        decl %eax
        je do_read
        decl %eax
        je do_write
        decl %eax
        je do_cpuid
        decl %eax
        je do_rdtsc
        decl %eax
        je do_ins
        decl %eax
        je do_outs
done:   movl $0, COMMAND
        jmp idle

do_in:  xorl %eax, %eax
        cmpl $2, %ebx
        jb 1f
        je 2f
        inl %dx, %eax
        jmp 3f
1:      inb %dx, %al
        jmp 3f
2:      inw %dx, %ax
3:      movl %eax, RESULT
        jmp done

do_out: movl VALUE, %eax
        cmpl $2, %ebx
        jb 1f
        je 2f
        outl %eax, %dx
        jmp done
1:      outb %al, %dx
        jmp done
2:      outw %ax, %dx
        jmp done

do_read:
        xorl %eax, %eax
        cmpl $2, %ebx
        jb 1f
        je 2f
        movl (%edx), %eax
        jmp 3f
1:      movb (%edx), %al
        jmp 3f
2:      movw (%edx), %ax
3:      movl %eax, RESULT
        jmp done

do_write:
        movl VALUE, %eax
        cmpl $2, %ebx
        jb 1f
        je 2f
        movl %eax, (%edx)
        jmp done
1:      movb %al, (%edx)
        jmp done
2:      movw %ax, (%edx)
        jmp done

do_cpuid:
        movl %edx, %eax
        movl VALUE, %ecx
        cpuid
        movl %eax, RESULT
        movl %ebx, RESULT + 4
        movl %ecx, RESULT + 8
        movl %edx, RESULT + 12
        jmp done

do_rdtsc:
        rdtsc
        movl %eax, RESULT
        movl %edx, RESULT + 4
        jmp done

do_ins: movl VALUE, %ecx
        movl $DATA, %edi
        cmpl $2, %ebx
        jb 1f
        je 2f
        rep insl
        jmp done
1:      rep insb
        jmp done
2:      rep insw
        jmp done

do_outs:
        movl VALUE, %ecx
        movl $DATA, %esi
        cmpl $2, %ebx
        jb 1f
        je 2f
        rep outsl
        jmp done
1:      rep outsb
        jmp done
2:      rep outsw
        jmp done

nmi:    iretl

        .balign 8
gdt:    .quad 0
        .quad 0x00cf9b000000ffff        /* code and data, 4 GiB; accessed, as this cannot be written */
        .quad 0x00cf93000000ffff
gdtr:   .word gdtr - gdt - 1
        .long ROM + gdt - start
        .balign 8
idt:    .quad 0, 0                      /* vector 2 alone: nmi at ROM + nmi - start */
        .word nmi - start, 8
        .word 0x8e00, ROM >> 16
idtr:   .word idtr - idt - 1
        .long ROM + idt - start
