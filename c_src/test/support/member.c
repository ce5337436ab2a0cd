#include "member.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

rd_kafka_t *plain_handle(rd_kafka_type_t type, const char *const *properties) {
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        char text[256] = "";
        rd_kafka_t *rk;
        for (; *properties; properties += 2)
                assert_int_equal(
                        rd_kafka_conf_set(conf, properties[0], properties[1], text, sizeof(text)),
                        RD_KAFKA_CONF_OK);
        rk = rd_kafka_new(type, conf, text, sizeof(text));
        assert_non_null(rk);
        return rk;
}

int set_up_member(void **state) {
        const char *const nobody[] = {"bootstrap.servers", "127.0.0.1:1", "log_level", "0", NULL};
        member_t *member = calloc(1, sizeof(*member));
        assert_non_null(member);
        member->rk = plain_handle(RD_KAFKA_PRODUCER, nobody);
        member->mock = rd_kafka_mock_cluster_new(member->rk, 1);
        assert_non_null(member->mock);
        rd_kafka_mock_topic_create(member->mock, "t", 1, 1);
        rd_kafka_mock_topic_create(member->mock, "t4", 4, 1);
        *state = member;
        return 0;
}

int tear_down_member(void **state) {
        member_t *member = *state;
        if (member->host)
                test_host_free(member->host);
        rd_kafka_mock_cluster_destroy(member->mock);
        rd_kafka_destroy(member->rk);
        free(member);
        return (int)test_blocks_alive();
}

void fail_requests(member_t *member, int16_t api, rd_kafka_resp_err_t err, size_t count) {
        for (size_t i = 0; i < count; i++)
                rd_kafka_mock_push_request_errors(member->mock, api, 1, err);
}

void join_by(member_t *member, const char *topic, const char *start, const char *strategy) {
        const char *const properties[] = {"bootstrap.servers",
                                          rd_kafka_mock_cluster_bootstraps(member->mock),
                                          "group.id",
                                          "g",
                                          "log.queue",
                                          "true",
                                          "partition.assignment.strategy",
                                          strategy,
                                          "auto.offset.reset",
                                          "error",
                                          "enable.auto.offset.store",
                                          "false",
                                          "topic.metadata.refresh.interval.ms",
                                          "500",
                                          "enable.partition.eof",
                                          "true",
                                          "session.timeout.ms", /* a rebalance takes as long */
                                          "3600",
                                          "heartbeat.interval.ms",
                                          "200",
                                          NULL};
        cr_writer_t out = cr_writer();
        member->host = test_host_new();
        assert_string_equal(test_open(member->host, "consumer", properties), "ok");
        cr_write_tuple(&out, 5);
        cr_write_text(&out, "join");
        cr_write_list(&out, 1);
        cr_write_text(&out, topic);
        cr_write_list_end(&out);
        cr_write_atom(&out, start);
        cr_write_atom(&out, "earliest");
        cr_write_list(&out, 1);
        cr_write_text(&out, "early");
        cr_write_list_end(&out);
        test_command(member->host, CR_CMD_SUBSCRIBE, out.x.buff, (size_t)out.x.index);
        cr_writer_discard(&out);
}

void join_at(member_t *member, const char *topic, const char *start) {
        join_by(member, topic, start, "cooperative-sticky");
}

void join(member_t *member) {
        join_at(member, "t", "earliest");
}

bool serve_until(member_t *member, bool (*holds)(const cr_group_t *group)) {
        for (int quiet = 0; quiet < 400;) {
                struct pollfd ready = {.fd = member->host->fd, .events = POLLIN};
                if (holds(member->host->client->group))
                        return true;
                if (poll(&ready, 1, 50) > 0) {
                        cr_client_drain(member->host->client);
                } else {
                        cr_client_sweep(member->host->client);
                        quiet++;
                }
        }
        return false;
}

bool has_slot(const cr_group_t *group) {
        return group->slots.count > 0;
}

cr_slot_t *first_slot(const cr_group_t *group) {
        size_t at = 0;
        return cr_map_next(&group->slots, &at);
}

void take_and_demand(member_t *member, uint32_t messages) {
        take_slot(member, first_slot(member->host->client->group), messages);
}

void take_slot(member_t *member, const cr_slot_t *slot, uint32_t messages) {
        bytes_t command = {.size = 0};
        put_uint(&command, slot->id, 8);
        assert_string_equal(test_command(member->host, CR_CMD_TAKE, command.data, command.size),
                            "");
        put_uint(&command, messages, 4);
        assert_string_equal(test_command(member->host, CR_CMD_DEMAND, command.data, command.size),
                            "");
}

void expect_event(member_t *member, const char *name) {
        packet_t *packet = test_host_event(member->host, name);
        assert_non_null(packet);
        packet_free(packet);
}

void fill_partition(member_t *member, int messages) {
        const char *const properties[] = {"bootstrap.servers",
                                          rd_kafka_mock_cluster_bootstraps(member->mock), NULL};
        rd_kafka_t *rk = plain_handle(RD_KAFKA_PRODUCER, properties);
        for (int i = 0; i < messages; i++)
                assert_int_equal(rd_kafka_producev(rk, RD_KAFKA_V_TOPIC("t"),
                                                   RD_KAFKA_V_PARTITION(0),
                                                   RD_KAFKA_V_VALUE("v", 1), RD_KAFKA_V_END),
                                 RD_KAFKA_RESP_ERR_NO_ERROR);
        assert_int_equal(rd_kafka_flush(rk, 20000), RD_KAFKA_RESP_ERR_NO_ERROR);
        rd_kafka_destroy(rk);
}

void subscribe_to_nothing(member_t *member) {
        cr_writer_t out = cr_writer();
        cr_write_tuple(&out, 5);
        cr_write_text(&out, "leave");
        cr_write_list_end(&out);
        cr_write_atom(&out, "earliest");
        cr_write_atom(&out, "earliest");
        cr_write_list_end(&out);
        test_command(member->host, CR_CMD_SUBSCRIBE, out.x.buff, (size_t)out.x.index);
        cr_writer_discard(&out);
}
