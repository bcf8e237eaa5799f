// What lies beside every libnvrtc; the fake one needs nothing of it but its presence and its build-id.
extern "C" __attribute__((visibility("default"))) int fake_nvrtc_builtins() { return 0; }
