; The first sector: load stage 2, check it, and go there. The BIOS starts it at 7C00h in 16-bit mode, with the drive in DL.
%include "layout.inc"
bits 16
org 0x7C00
    jmp 0:start
start:
    cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7C00
    sti
    cld
    movzx edx, dl
    mov [MB_DRIVE], edx
    mov ah, 0x41            ; reads by LBA? (EDD 3.0, 5.1)
    mov bx, 0x55AA
    int 0x13
    jc unreadable
    cmp bx, 0xAA55
    jne unreadable
read:
    mov word [packet+2], STAGE2_SECTORS     ; the last try may have left fewer
    mov si, packet
    mov dl, [MB_DRIVE]
    mov ah, 0x42
    int 0x13
    jnc check
    dec byte [tries]
    jz unreadable
    xor ah, ah              ; reset the drive
    mov dl, [MB_DRIVE]
    int 0x13
    jmp read

check:
    mov si, STAGE2
    mov cx, STAGE2_CRC
    or edx, -1
.byte:
    lodsb
    xor dl, al
    mov di, 8
.bit:
    shr edx, 1
    jnc .next
    xor edx, 0xEDB88320
.next:
    dec di
    jnz .bit
    loop .byte
    not edx
    cmp edx, [si]
    jne damaged
    jmp 0:STAGE2+H_ENTRY

unreadable:
    mov bl, R_STAGE2_READ
    mov si, unreadable_text
    jmp fail
damaged:
    mov bl, R_STAGE2
    mov si, damaged_text
fail:                       ; si: text, bl: reason. To the screen, and to COM1
    mov di, bx
.letter:
    lodsb
    test al, al
    jz .end
    mov dx, 0x3F8
    out dx, al
    mov ah, 0x0E
    mov bx, 7
    int 0x10
    jmp .letter
.end:
    mov ax, di
    out EXIT_PORT, al
.stop:
    cli
    hlt
    jmp .stop

tries db 3
unreadable_text db 'MBR: stage 2 cannot be read', 13, 10, 0
damaged_text db 'MBR: stage 2 is damaged', 13, 10, 0
    align 4
packet:                     ; disk address packet (EDD 3.0, 3.2)
    db 16, 0
    dw STAGE2_SECTORS
    dw STAGE2, 0
    dq STAGE2_LBA
    times 446-($-$$) db 0
    db 0x80, 0, 2, 0, 0xDA, 0, 63, 0        ; an active partition, for firmware that wants one; DAh: no file system
    dd 1, 2047
    times 510-($-$$) db 0
    dw 0xAA55
