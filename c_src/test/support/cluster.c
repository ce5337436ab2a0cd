#include "cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

test_host_t *cluster;
char bootstrap[64];

static void read_bootstrap(void) {
        char ok[8];
        size_t size;
        const unsigned char *bytes = test_answer(&size);
        cr_reader_t answer = cr_reader(bytes, size);
        cr_text_t text;
        cr_read_tuple(&answer, 2);
        cr_read_atom(&answer, ok, sizeof(ok));
        text = cr_read_binary(&answer);
        snprintf(bootstrap, sizeof(bootstrap), "%.*s", (int)text.size, text.bytes);
}

void cluster_of(int partitions) {
        cr_writer_t out = cr_writer();
        cluster = test_host_new();
        test_open(cluster, "cluster", NULL);
        read_bootstrap();
        cr_write_tuple(&out, 3);
        cr_write_text(&out, "topic");
        cr_write_text(&out, "t");
        cr_write_integer(&out, partitions);
        test_command(cluster, CR_CMD_MOCK_TOPIC, out.x.buff, (size_t)out.x.index);
        cr_writer_discard(&out);
        packet_free(test_host_reply(cluster, "topic"));
}

int start_cluster(void **state) {
        (void)state;
        cluster_of(4);
        return 0;
}

int stop_cluster(void **state) {
        (void)state;
        test_host_free(cluster);
        return (int)test_blocks_alive();
}

test_host_t *plain_producer(const char *servers) {
        const char *const properties[] = {"bootstrap.servers", servers, "log.queue", "true", NULL};
        test_host_t *host = test_host_new();
        assert_string_equal(test_open(host, "producer", properties), "ok");
        return host;
}

const char *plain_produce(test_host_t *host, uint8_t mode, uint64_t call, const char *tag,
                          uint32_t count) {
        bytes_t command = {.size = 0};
        put_produce(&command, mode, CR_POLICY_REFUSE, call, tag, count);
        return test_command(host, CR_CMD_PRODUCE, command.data, command.size);
}

int16_t report_error(const unsigned char *report) {
        return (int16_t)(report[0] << 8 | report[1]);
}
