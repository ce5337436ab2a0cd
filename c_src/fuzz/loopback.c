/*
 * Fuzzers make up addresses of brokers: nothing outside of this machine is called, nor
 * asked for by name.
 */
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

/* Its argument is a union of the C library's. */
EXPORTED int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t size) {
        const struct sockaddr *to = address.__sockaddr__;
        const struct sockaddr_in *four = (const void *)to;
        if (to->sa_family == AF_INET6 ||
            (to->sa_family == AF_INET && ntohl(four->sin_addr.s_addr) >> 24 != IN_LOOPBACKNET)) {
                errno = ENETUNREACH;
                return -1;
        }
        return (int)syscall(SYS_connect, fd, to, size);
}

typedef int (*look_up_t)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

EXPORTED int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                         struct addrinfo **found) {
        struct addrinfo numeric = hints ? *hints : (struct addrinfo){0};
        look_up_t look_up = (look_up_t)(intptr_t)dlsym(RTLD_NEXT, "getaddrinfo");
        numeric.ai_flags |= AI_NUMERICHOST;
        return look_up(host, port, &numeric, found);
}
