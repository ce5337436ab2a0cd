#include "sockets.h"

#include "client.h"

#if defined(__linux__) && defined(__has_include)
#if __has_include(<linux/tcp.h>) && __has_include(<linux/version.h>)
#include <linux/version.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(4, 19, 0) /* the first with tcpi_bytes_sent */
#define HAS_COUNT
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#endif
#endif
#endif

void cr_sockets_init(cr_sockets_t *sockets) {
        pthread_mutex_init(&sockets->lock, NULL);
        sockets->count = 0;
}

void cr_sockets_destroy(cr_sockets_t *sockets) {
        pthread_mutex_destroy(&sockets->lock);
}

#ifdef HAS_COUNT

bool cr_sockets_tell(void) {
        return true;
}

/* @locality a broker's thread, as the next */
static int opened(int domain, int type, int protocol, void *client) {
        cr_sockets_t *sockets = &((cr_client_t *)client)->sockets;
        int fd = socket(domain, type | SOCK_CLOEXEC, protocol);
        pthread_mutex_lock(&sockets->lock);
        if (fd >= 0 && sockets->count < CR_SOCKETS_MOST)
                sockets->open[sockets->count++] = fd;
        pthread_mutex_unlock(&sockets->lock);
        return fd;
}

static int closes(int fd, void *client) {
        cr_sockets_t *sockets = &((cr_client_t *)client)->sockets;
        int result;
        pthread_mutex_lock(&sockets->lock);
        for (int i = 0; i < sockets->count; i++) {
                if (sockets->open[i] == fd)
                        sockets->open[i--] = sockets->open[--sockets->count];
        }
        result = close(fd);
        pthread_mutex_unlock(&sockets->lock);
        return result;
}

void cr_sockets_watch(rd_kafka_conf_t *conf) {
        rd_kafka_conf_set_socket_cb(conf, opened);
        rd_kafka_conf_set_closesocket_cb(conf, closes);
}

uint64_t cr_sockets_sent(cr_sockets_t *sockets) {
        uint64_t sent = 0;
        pthread_mutex_lock(&sockets->lock);
        for (int i = 0; i < sockets->count; i++) {
                struct tcp_info info = {0}; /* an older Linux fills less of it */
                socklen_t size = sizeof(info);
                if (getsockopt(sockets->open[i], IPPROTO_TCP, TCP_INFO, &info, &size) == 0)
                        sent += info.tcpi_bytes_sent;
        }
        pthread_mutex_unlock(&sockets->lock);
        return sent;
}

#else

bool cr_sockets_tell(void) {
        return false;
}

void cr_sockets_watch(rd_kafka_conf_t *conf) {
        (void)conf;
}

uint64_t cr_sockets_sent(cr_sockets_t *sockets) {
        (void)sockets;
        return 0;
}

#endif
