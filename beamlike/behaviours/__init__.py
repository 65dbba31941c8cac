"""Behaviours: processes of a known shape, after OTP. Ordinary process code, on top of what `beamlike` gives to every program.

    starting        how each of them starts: the starter waits for init and learns what came of it
    gen_server      GenServer: answers calls
    state_machine   StateMachine: does so by the state it is in
    system          what one can ask of any of them: suspend, get_state, trace, stop …
    requests        Request[R]: requests that tell a type checker what their answer is
    asyncness       tells of a forgotten `async`
    child, options, asking, restarts, stopping, supervising, supervisor, dynamic_supervisor, task, application      supervision

Nothing is imported here: each module is imported by its name, and `beamlike` is the face.
"""
