//! Compares our declarations of CRI and of NRI's plugin protocol with the Go modules of Kubernetes and
//! of NRI; all of it is in `tests/`, and `main.go` prints what the modules declare.
