%% @private A connection without TLS: who speaks at its other end.
-module(crema_check_plain).

-export([ask/4, judge/3, no_kafka/2]).

-export_type([answered/0]).

-type answered() :: {[binary()], done | tls | http | timed_out | closed | other}.

%% The first byte of what a server of TLS says to those that do not speak it.
-define(TLS_ALERT, 21).
-define(MAX_ANSWER, 65536).

%% @doc The answers to the requests, and what came in place of the next.
-spec ask(inet:ip_address(), inet:port_number(), [binary()], crema_deadline:deadline()) ->
    answered().
ask(Address, Port, Requests, Deadline) ->
    Options = [binary, {active, false}, {packet, raw}, {nodelay, true}],
    case gen_tcp:connect(Address, Port, Options, crema_deadline:left(Deadline)) of
        {ok, Socket} ->
            Answered = converse(Socket, Requests, Deadline, []),
            ok = gen_tcp:close(Socket),
            Answered;
        {error, timeout} ->
            {[], timed_out};
        {error, _} ->
            {[], closed}
    end.

-spec converse(gen_tcp:socket(), [binary()], crema_deadline:deadline(), [binary()]) -> answered().
converse(_Socket, [], _Deadline, Answers) ->
    {lists:reverse(Answers), done};
converse(Socket, [Request | Rest], Deadline, Answers) ->
    _ = gen_tcp:send(Socket, [<<(byte_size(Request)):32>>, Request]),
    case answer(Socket, Deadline) of
        {ok, Answer} -> converse(Socket, Rest, Deadline, [Answer | Answers]);
        Why -> {lists:reverse(Answers), Why}
    end.

-spec answer(gen_tcp:socket(), crema_deadline:deadline()) ->
    {ok, binary()} | tls | http | timed_out | closed | other.
answer(Socket, Deadline) ->
    case gen_tcp:recv(Socket, 4, crema_deadline:left(Deadline)) of
        {ok, <<?TLS_ALERT, 3, _:16>>} ->
            tls;
        {ok, <<"HTTP">>} ->
            http;
        {ok, <<Size:32>>} when Size > 0, Size =< ?MAX_ANSWER ->
            case gen_tcp:recv(Socket, Size, crema_deadline:left(Deadline)) of
                {ok, Answer} -> {ok, Answer};
                {error, timeout} -> timed_out;
                {error, _} -> closed
            end;
        {ok, _} ->
            other;
        {error, timeout} ->
            timed_out;
        {error, _} ->
            closed
    end.

%% @doc Steps tls and kafka.
-spec judge(binary(), crema_check_security:security(), answered()) ->
    {[crema_check_step:step()], unknown | [binary()]}.
judge(Subject, #{protocol := Protocol}, {Answers, End}) ->
    Plain = crema_check_step:skipped(tls, Subject, ["security.protocol is ", Protocol]),
    case {crema_check_wire:answered(Answers), End} of
        {#{kafka := true, mechanisms := Mechanisms}, _} ->
            {[Plain, crema_check_step:ok(kafka, Subject, "a broker answers")], Mechanisms};
        {_, tls} ->
            Message = ["the port speaks TLS, and security.protocol is ", Protocol],
            {[crema_check_step:failed(tls, Subject, tls_expected, Message)], unknown};
        {_, Why} ->
            {[Plain, no_kafka(Subject, Why)], unknown}
    end.

%% @doc What is said of a server that has not answered as a broker does. A system
%% takes connections for its programs, also when they say nothing.
-spec no_kafka(binary(), atom()) -> crema_check_step:step().
no_kafka(Subject, timed_out) ->
    Message = "connections are taken, and nothing is answered",
    crema_check_step:failed(kafka, Subject, no_answer, Message);
no_kafka(Subject, closed) ->
    Message = "the connection was closed in place of an answer",
    crema_check_step:failed(kafka, Subject, no_kafka, Message);
no_kafka(Subject, http) ->
    Message = "what answers there is a web server (HTTP), and no Kafka broker",
    crema_check_step:failed(kafka, Subject, no_kafka, Message);
no_kafka(Subject, _) ->
    Message = "what answers there is no Kafka broker",
    crema_check_step:failed(kafka, Subject, no_kafka, Message).
