%% @private The events that producers and consumers have in common.
-module(crema_event_client).

-export([events/0]).
-import(crema_event_row, [event/4, client/0, problem/0, duration/1]).

-type row() :: crema_event_table:row().
-type field() :: crema_event_table:field().

-spec events() -> [row()].
events() ->
    [
        event([crema, client, connected],
            <<"A broker can be reached, at first or again after disconnected.">>,
            [{duration, {optional, {integer, ms}}, <<"since the trouble that was told, if any">>}],
            client()),
        event([crema, client, disconnected],
            <<"No broker can be reached any more; once, not per attempt to reconnect.">>,
            [], trouble()),
        event([crema, client, broker_down],
            <<"A broker cannot be reached, others can; once, not per attempt. A connection that is "
                "closed while it is idle is no such trouble.">>,
            [], trouble()),
        event([crema, client, broker_up],
            <<"It can be reached again.">>,
            [duration(<<"since broker_down">>)],
            client() ++ [{broker, binary, <<"host and port">>}]),
        event([crema, client, error],
            <<"Something failed outside any call: a host not resolved, a log-in refused, an "
                "unknown topic subscribed to. Once per change of state.">>,
            [], trouble() ++ [
                {topic, {optional, binary}, <<"the topic concerned">>},
                {partition, {optional, integer}, <<"the partition concerned">>}
            ]),
        event([crema, client, fatal],
            <<"The client cannot go on and is rebuilt or stopped.">>,
            [{outstanding, {optional, {integer, messages}}, <<"messages without a report yet">>}],
            client() ++ problem()),
        event([crema, client, renewed],
            <<"A new client has taken the place of the old one: see crema_renewal:renew/3.">>,
            [{duration, {integer, ms}, <<"since it was asked for">>}], client()),
        event([crema, client, log],
            <<"A line of librdkafka's log.">>,
            [{dropped, {integer, messages}, <<"lines dropped since the last, in a storm">>}],
            client() ++ [
                {level, atom, <<"level of OTP's logger">>},
                {facility, binary, <<"the part of librdkafka that speaks">>},
                {message, binary, <<"the line">>}
            ]),
        event([crema, client, certificate],
            <<"A certificate needs attention; told when a client is opened.">>, [],
            [{property, binary, <<"the librdkafka property concerned">>} | client()] ++
                [{message, binary, <<"what is the matter: it will expire, or the like">>}]),
        event([crema, client, token_refreshed],
            <<"There is a new token for OAUTHBEARER. In a process of its own.">>,
            [
                {duration, {integer, ms}, <<"time it took to get it">>},
                {lifetime, {integer, ms}, <<"how long it lives">>},
                {attempt, integer, <<"calls of oauth_token since the last token">>}
            ],
            client()),
        event([crema, client, token_failed],
            <<"A call of oauth_token has given no token; another follows. In the same process. Of "
                "the first in a row [crema, client, error] tells, too.">>,
            [
                {attempt, integer, <<"calls of oauth_token since the last token">>},
                {delay, {integer, ms}, <<"wait before the next">>}
            ],
            client() ++ problem()),
        event([crema, client, statistics],
            <<"librdkafka's statistics, every statistics.interval.ms (under kafka; off by default): "
                "the totals, and all of it.">>,
            statistics(),
            client() ++ [{statistics, map, <<"the whole, as crema:statistics/1 has it">>}])
    ].

%% The last two when it is with a broker.
-spec trouble() -> [field()].
trouble() ->
    client() ++ problem() ++ [
        {broker, {optional, binary}, <<"host and port">>},
        {cause, {optional, atom}, <<"what the connection failed of: see connections.md">>}
    ].

-spec statistics() -> [field()].
statistics() ->
    [
        {Name, {optional, Type}, Doc}
     || {Name, Type, Doc} <- [
            {msg_cnt, {integer, messages}, <<"messages in the producer queue">>},
            {msg_size, {integer, bytes}, <<"their size">>},
            {replyq, integer, <<"events waiting to be served">>},
            {tx, integer, <<"requests sent">>},
            {tx_bytes, {integer, bytes}, <<"bytes sent">>},
            {rx, integer, <<"responses received">>},
            {rx_bytes, {integer, bytes}, <<"bytes received">>},
            {txmsgs, {integer, messages}, <<"messages sent">>},
            {txmsg_bytes, {integer, bytes}, <<"their size">>},
            {rxmsgs, {integer, messages}, <<"messages received">>},
            {rxmsg_bytes, {integer, bytes}, <<"their size">>}
        ]
    ].
