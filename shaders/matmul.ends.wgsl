// What `leave` takes of the uniforms. Kernels ask once: on software adapters a read in a loop is dear.
struct Ends {
    m: u32,
    n: u32,
}

fn ends() -> Ends {
    return Ends(u.m, u.n);
}
