// What `leave` takes of the uniforms and of the state. Kernels ask once: on software adapters a read in a loop is dear.
struct Ends {
    m: u32,
    n: u32,
    bias_at: u32,
    cursor: Cursor,
}

fn ends() -> Ends {
    return Ends(u.m, u.n, u.bias_at, now());
}
