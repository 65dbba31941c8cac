; Stage 2: the primary core goes to 64-bit mode and calls another core, which stays in 16-bit mode and reads the medium for it.
;
; The slave reads with the BIOS into one of two buffers in low memory, while the primary moves what is in the other one above 2 MiB and
; checks it. They talk by the mailbox, where every field has one writer (layout.inc): stores are seen in their order on x86 (Intel SDM
; volume 3, 9.2), so a request's number is written after the request, and that is all. What the primary does not hear of for PATIENCE is
; dead: it is stopped by an INIT, and the next core is called, which finds the requests where they were.
%include "layout.inc"
bits 16
org STAGE2
    jmp 0:slave             ; a slave begins here, with CS = STAGE2 / 16 and IP = 0
    times H_MAGIC-($-$$) nop
    db 'BLS2'
    dd idle
    times H_ENTRY-($-$$) nop
    jmp primary

%include "slave.inc"
%include "entry.inc"
%include "primary.inc"
%include "calling.inc"
%include "firmware.inc"
%include "faults.inc"
%include "serial.inc"
    times STAGE2_SECTORS*512-($-$$) db 0
