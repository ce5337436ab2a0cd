%% @doc crema's errors: `{error, {Code, Details}}' everywhere.
%%
%% `Code' is an atom: librdkafka's own name in lower case (`msg_timed_out') or
%% one of crema's (`closed', `stale_assignment'). `Details' always has `message',
%% which says what happened and what to do about it, and where they apply the
%% other keys of {@link details()}.
-module(crema_error).

-export([make/3, make/4, from_kafka/3, code/1, hint/1, hints/0, format/1]).
-export([badarg/1, format_error/2, text/1]).

-export_type([error/0, reason/0, code/0, details/0, status/0]).

-type code() :: atom().

-type status() :: not_persisted | possibly_persisted | persisted.
%% Whether a message is in the log: for the first a repeat cannot duplicate it.

-type details() :: #{
    message := binary(),
    %% The same call may succeed later.
    retriable => boolean(),
    %% The client is of no more use and is rebuilt or stopped.
    fatal => boolean(),
    %% The transaction must be aborted; it may then be repeated.
    abortable => boolean(),
    status => status(),
    %% The message was refused when it was produced: no broker has seen it.
    sent => false,
    topic => binary(),
    partition => integer(),
    %% The part of a message or of the options that is wrong.
    field => term(),
    %% The position of a wrong message in a call's list, from 0.
    index => non_neg_integer(),
    atom() => term()
}.

-type reason() :: {code(), details()}.
-type error() :: {error, reason()}.

%% The longest name librdkafka 2.15 has is of 39 characters.
-define(MAX_NAME, 64).

%% Hints shared by several codes. They are macros so that the tables below are
%% literals: an error may be made for each of many thousand messages.
-define(FATAL,
    <<"The client cannot go on: outstanding messages are reported with their status.">>
).
-define(CREDENTIALS,
    <<"Check sasl.mechanism, sasl.username and sasl.password (or the token), and that the broker "
        "has this user for that mechanism.">>
).
-define(TOPIC,
    <<"Create the topic, or correct its name; brokers create topics by themselves only when "
        "auto.create.topics.enable is set there.">>
).
-define(LARGE,
    <<"Send a smaller message, or raise message.max.bytes under kafka and on the broker (for one "
        "topic: max.message.bytes).">>
).
-define(FENCED,
    <<"Another client uses the same transactional.id: give each its own; or a transaction was open "
        "for longer than transaction.timeout.ms. The older one cannot go on.">>
).
-define(PURGED,
    <<"The client stopped or was purged before a broker acknowledged the message; status tells "
        "whether it may be in the log.">>
).
-define(REPLICAS,
    <<"Too few replicas are in sync for acks=all: check the brokers, or the topic's "
        "min.insync.replicas.">>
).

%% @doc An error. The hint of the code, if there is one, is appended to the
%% message (once). `Extra' holds the other details; a `message' in it is ignored.
-spec make(code(), Message :: unicode:chardata(), Extra :: map()) -> error().
make(Code, Message, Extra) ->
    make(Code, Message, Extra, hint(Code)).

%% @doc The same with a hint that knows more than the code tells.
-spec make(code(), Message :: unicode:chardata(), Extra :: map(), Hint :: binary()) -> error().
make(Code, Message, Extra, Hint) when is_atom(Code), is_map(Extra) ->
    {error, {Code, Extra#{message => advise(text(Message), Hint)}}}.

%% @doc What `erlang:error(badarg, Args, _)' takes, for shells and Elixir to say
%% what is wrong with which argument.
-spec badarg(#{pos_integer() => binary()}) -> [{error_info, map()}].
badarg(Wrong) ->
    [{error_info, #{module => ?MODULE, cause => Wrong}}].

%% @private Called by those who show an exception.
-spec format_error(term(), [tuple()]) -> map().
format_error(_Reason, [{_, _, _, Location} | _]) ->
    case lists:keyfind(error_info, 1, Location) of
        {_, #{cause := Wrong}} -> Wrong;
        _ -> #{}
    end.

%% @doc The error for one of librdkafka's: its name (`<<"_MSG_TIMED_OUT">>', as
%% `rd_kafka_err2name' gives it), and its description.
-spec from_kafka(Name :: binary(), Description :: unicode:chardata(), Extra :: map()) -> error().
from_kafka(Name, Description, Extra) ->
    case code(Name) of
        unknown when Name =/= <<"UNKNOWN">> ->
            make(unknown, [text(Description), " (", text(Name), ")"], Extra);
        Code ->
            make(Code, Description, Extra)
    end.

%% @doc The code for librdkafka's name of an error: lower case, without the
%% underscore that marks its local errors. `unknown' for a name it cannot have.
-spec code(Name :: binary()) -> code().
code(<<"_", Name/binary>>) -> code(Name);
code(Name) when byte_size(Name) > 0, byte_size(Name) =< ?MAX_NAME ->
    case is_name(Name) of
        %% The only place where crema makes atoms from data. The names come from
        %% a table compiled into librdkafka, some 150 of them, and never from the
        %% network; a code it has no name for reads "ERR_123?" and fails the check.
        true -> binary_to_atom(string:lowercase(Name));
        false -> unknown
    end;
code(_) -> unknown.

-spec is_name(binary()) -> boolean().
is_name(Name) ->
    lists:all(
        fun(C) -> (C >= $A andalso C =< $Z) orelse (C >= $0 andalso C =< $9) orelse C =:= $_ end,
        binary_to_list(Name)
    ).

%% @private Bytes that are no UTF-8 are read as Latin-1, so that a message is always
%% text: descriptions may quote names that brokers or users sent.
-spec text(unicode:chardata()) -> binary().
text(Chars) ->
    try
        case unicode:characters_to_binary(Chars) of
            Text when is_binary(Text) -> Text;
            _ -> unicode:characters_to_binary(iolist_to_binary(Chars), latin1)
        end
    catch
        error:badarg -> unicode:characters_to_binary(io_lib:format("~0tp", [Chars]))
    end.

-spec advise(binary(), binary()) -> binary().
advise(Message, <<>>) ->
    Message;
advise(Message, Hint) ->
    case binary:longest_common_suffix([Message, Hint]) =:= byte_size(Hint) of
        true -> Message;
        false -> <<(sentence(trimmed(Message)))/binary, " ", Hint/binary>>
    end.

%% string:trim/3 takes ten times as long as all the rest of an error.
-spec trimmed(binary()) -> binary().
trimmed(Text) ->
    Size = byte_size(Text) - 1,
    case Text of
        <<Before:Size/binary, C>> when C =:= $.; C =:= $\s; C =:= $\n -> trimmed(Before);
        _ -> Text
    end.

-spec sentence(binary()) -> binary().
sentence(Text) ->
    case binary:last(<<".", Text/binary>>) of
        $? -> Text;
        _ -> <<Text/binary, ".">>
    end.

%% @doc What to do about an error, as a sentence; empty when the code says it all.
-spec hint(code()) -> binary().
hint(Code) ->
    hint(Code, [own_hints(), network_hints(), kafka_hints()]).

-spec hint(code(), [#{code() => binary()}]) -> binary().
hint(_Code, []) ->
    <<>>;
hint(Code, [Table | Tables]) ->
    case Table of
        #{Code := Hint} -> Hint;
        #{} -> hint(Code, Tables)
    end.

%% @doc All hints by code, for documentation.
-spec hints() -> #{code() => binary()}.
hints() ->
    maps:merge(own_hints(), maps:merge(network_hints(), kafka_hints())).

-spec own_hints() -> #{code() => binary()}.
own_hints() ->
    #{
        bad_options =>
            <<"crema_options:doc/1 describes every option.">>,
        bad_call =>
            <<"Nothing was sent: crema:produce/3 describes the options of calls.">>,
        bad_message =>
            <<"Nothing of the call was sent: correct the message and call again.">>,
        bad_partitioner =>
            <<"Nothing of the call was sent: a partitioner returns a number from 0 to the number "
                "of partitions less one, and does not raise.">>,
        middleware =>
            <<"Nothing of the call was sent: the details have the reason.">>,
        queue_full =>
            <<"Brokers take messages more slowly than they are produced: slow down, wait longer "
                "(full_timeout) or raise max_queue_messages and max_queue_bytes.">>,
        buffer_full =>
            <<"Nothing of the call was buffered: flush the buffer, or purge it of what cannot be "
                "sent.">>,
        callback_failed =>
            <<"A function or module given to crema raised: details have class, reason and "
                "stacktrace.">>,
        batch_too_large =>
            <<"A call's messages are admitted whole: send fewer in one call or raise "
                "max_queue_messages and max_queue_bytes.">>,
        topic_config_conflict =>
            <<"Nothing of the call was sent: a client keeps the configuration that a topic is first "
                "used with. Use one variant for the topic, or give the variant client => own.">>,
        pool_timeout =>
            <<"Others have all members: let them end sooner, wait longer (checkout_timeout), or give "
                "the pool more of them (size).">>,
        too_many_variants =>
            <<"Make the variants once, when the producer starts, and keep them.">>,
        busy =>
            <<"Flush or purge first, and let whoever uses it finish.">>,
        not_connected =>
            <<"Nothing was accepted: the producer is making a new client; call again, or wait "
                "longer (full_timeout).">>,
        closed =>
            <<"The client has stopped: start it again, or call it only while its supervisor runs "
                "it.">>,
        not_enabled =>
            <<"Set statistics.interval.ms under kafka.">>,
        not_yet =>
            <<"The first come after statistics.interval.ms.">>,
        not_acknowledged =>
            <<"The details have each token that was refused under failed, with its reason.">>,
        not_found =>
            <<"Is the client started, and is this the name in its options?">>,
        timeout =>
            <<"This is not a final verdict: what was asked for may still happen.">>,
        unclaimed =>
            <<"The report was forgotten: await references sooner or raise max_unclaimed.">>,
        stale_assignment =>
            <<"The partition was reassigned or sought since the message was delivered, which comes "
                "again, here or at another member: drop this result.">>,
        not_assigned =>
            <<"It went to another member, or was never this one's: crema:status/1 lists those that "
                "are assigned.">>,
        commits_nothing =>
            <<"Only with the option commit => auto does it.">>,
        handler_failed =>
            <<"The options failures, fatal and max_restarts say when a consumer stops for good: "
                "mend the handler or what it needs, and start it again.">>,
        handler_stuck =>
            <<"Give the consumer a handler_timeout, at which only the handler is ended, or a longer "
                "max.poll.interval.ms.">>,
        instance_in_use =>
            <<"Brokers would put the older of the two out of the group for good: give each member "
                "its own group.instance.id, or stop the other first.">>,
        bad_token =>
            <<"Of a token and its extensions only printable ASCII characters may be sent.">>,
        token_failed =>
            <<"Connections that there are live on; the function is called again, after a back-off "
                "(oauth_backoff).">>,
        no_password =>
            <<"Set security.protocol and a sasl.mechanism (PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512) "
                "under kafka; for OAUTHBEARER there is the option oauth_token.">>,
        driver_missing =>
            <<"Build crema's native part (make -C c_src) and install librdkafka (Debian: "
                "librdkafka1, to build librdkafka-dev).">>,
        driver_version =>
            <<"The driver loaded in this node is of another crema release, and a driver cannot be "
                "exchanged while the node runs: restart the node.">>,
        fatal => ?FATAL,
        not_transactional =>
            <<"Give the producer a transactional.id under kafka.">>,
        stale_transaction =>
            <<"Nothing of the call was sent: produce with the handle of a transaction that is "
                "open (crema:transaction/2).">>,
        in_transaction =>
            <<"Use the transaction's handle, or end the transaction first.">>,
        transaction_busy =>
            <<"Keep transactions short, wait longer (transaction_wait), or use another producer "
                "with a transactional.id of its own.">>,
        not_ready =>
            <<"Check bootstrap_servers and that the brokers can keep the state of transactions.">>,
        commit_unknown =>
            <<"The client died while the transaction was committed: read the topic to learn the "
                "outcome.">>
    }.

-spec network_hints() -> #{code() => binary()}.
network_hints() ->
    #{
        transport =>
            <<"Check that the broker runs, that bootstrap_servers names its host and port, and "
                "that security.protocol is what that port speaks.">>,
        all_brokers_down =>
            <<"No broker can be reached: check bootstrap_servers, the network and that the brokers "
                "run. crema goes on trying.">>,
        resolve =>
            <<"A host name cannot be resolved: check bootstrap_servers, DNS, and the names the "
                "brokers advertise (advertised.listeners).">>,
        ssl =>
            <<"TLS failed: check ssl.ca.location or ssl.ca.pem, that the certificate is valid for "
                "the host name, and that the port speaks TLS.">>,
        unknown_host =>
            <<"Correct the name in bootstrap_servers, or have it known here (DNS, /etc/hosts).">>,
        name_servers_silent =>
            <<"Check /etc/resolv.conf, and that the name servers can be reached.">>,
        connection_refused =>
            <<"The host is there, and nothing listens on that port: start the broker, or correct "
                "the port.">>,
        firewalled =>
            <<"Something on the way swallows it: let a firewall, security group or network policy "
                "pass the port, or check that the host is up.">>,
        unreachable =>
            <<"Check routes and the address: a VPN, a private network or IPv6 may be missing here.">>,
        no_answer =>
            <<"The broker is stopped, hangs or is overloaded, or the port is of something else.">>,
        no_kafka =>
            <<"Check host and port: it is of another service, or the broker ended the connection; "
                "its log tells why.">>,
        tls_expected => <<"Set security.protocol to ssl, or to sasl_ssl.">>,
        tls_not_spoken =>
            <<"Set security.protocol to plaintext or sasl_plaintext, or use the port of a listener "
                "with TLS.">>,
        tls_untrusted =>
            <<"Give the certificate of the authority that signed it, as ssl.ca.pem or "
                "ssl.ca.location.">>,
        tls_expired => <<"Renew the broker's certificate, and check the clocks of both.">>,
        tls_host_mismatch =>
            <<"Use a name that the certificate has, or renew it with this one; with "
                "ssl.endpoint.identification.algorithm set to none any certificate of the "
                "authority will do.">>,
        tls_client_refused =>
            <<"The broker wants a client's certificate that it trusts: ssl.certificate.pem and "
                "ssl.key.pem, or their locations.">>,
        tls_settings => <<"Correct the file or text that the property names.">>,
        tls_failed => <<"Compare versions, ciphers and curves with those of the broker.">>,
        sasl_expected => <<"Set security.protocol to sasl_plaintext or sasl_ssl, and a user.">>,
        sasl_not_expected =>
            <<"Set security.protocol to plaintext or ssl, or use the port of a listener with SASL.">>,
        advertised_unreachable =>
            <<"Clients connect to what the broker's advertised.listeners says, not to what they "
                "began with: correct it there, or make that name and port reachable here.">>,
        authentication => ?CREDENTIALS,
        sasl_authentication_failed => ?CREDENTIALS,
        unsupported_sasl_mechanism =>
            <<"Set sasl.mechanism to one the broker has enabled.">>,
        topic_authorization_failed =>
            <<"Grant this user the right to the topic (an ACL) or use another topic.">>,
        group_authorization_failed =>
            <<"Grant this user the right to the group (an ACL) or use another group.">>,
        cluster_authorization_failed =>
            <<"Grant this user the right on the cluster (an ACL; IdempotentWrite for a producer "
                "with ordering => strict on old brokers).">>,
        transactional_id_authorization_failed =>
            <<"Grant this user the right to the transactional.id (an ACL).">>,
        timed_out =>
            <<"The broker did not answer in time: check that it runs and is not overloaded.">>,
        request_timed_out =>
            <<"The broker did not answer in time: check that it and its replicas run.">>
    }.

-spec kafka_hints() -> #{code() => binary()}.
kafka_hints() ->
    #{
        unknown_topic => ?TOPIC,
        unknown_topic_or_part => ?TOPIC,
        unknown_partition => <<"Choose a partition the topic has, or leave the choice out.">>,
        topic_exception =>
            <<"A topic's name is of letters, digits, dots, dashes and underscores, at most 249.">>,
        msg_size_too_large => ?LARGE,
        invalid_msg_size => ?LARGE,
        record_list_too_large =>
            <<"Lower batch.size under kafka, or raise the topic's segment.bytes.">>,
        msg_timed_out =>
            <<"The message was not acknowledged within message.timeout.ms: check that the brokers "
                "and the partition's leader can be reached, or allow more time.">>,
        not_enough_replicas => ?REPLICAS,
        not_enough_replicas_after_append => ?REPLICAS,
        purge_queue => ?PURGED,
        purge_inflight => ?PURGED,
        invalid_arg => <<"Correct the option or argument that the message names.">>,
        fenced => ?FENCED,
        producer_fenced => ?FENCED,
        invalid_producer_epoch => ?FENCED,
        fenced_instance_id =>
            <<"Another member of the group uses the same group.instance.id: give each its own.">>,
        unreleased_instance_id =>
            <<"Another member of the group has the same group.instance.id, or was killed and its "
                "session has not ended: this one tries again every 12 seconds.">>,
        max_poll_exceeded =>
            <<"A handler took longer than max.poll.interval.ms: make it faster, or raise the "
                "interval. Its partitions went to other members.">>,
        inconsistent_group_protocol =>
            <<"Members of the group use assignment strategies that do not go together: set "
                "partition.assignment.strategy alike in all.">>,
        auto_offset_reset =>
            <<"There is no committed offset to begin at, or it is out of range; start decides "
                "where the partition begins.">>,
        offset_out_of_range =>
            <<"The log no longer holds this offset: retention has deleted what was not read in "
                "time.">>,
        unsupported_feature =>
            <<"The broker is too old for this, or this build of librdkafka lacks it.">>,
        not_implemented => <<"This build of librdkafka lacks it.">>
    }.

%% @doc An error as a sentence for people: code, message, where, and whether the
%% message may be in the log. Takes an error, its reason or any other term (which
%% is printed without secrets); never raises.
-spec format(error() | reason() | term()) -> binary().
format({error, Reason}) ->
    format(Reason);
format({Code, #{message := Message} = Details}) when is_atom(Code), is_binary(Message) ->
    Where = lists:join(", ", lists:append([part(Key, Details) || Key <- parts()])),
    text([atom_to_binary(Code), ": ", text(Message) | bracketed(Where)]);
format(Other) ->
    text(io_lib:format("~0tp", [crema_secret:redact(Other)])).

-spec parts() -> [atom()].
parts() -> [topic, partition, index, field, status, retriable, fatal, abortable].

-spec bracketed([iodata()]) -> iodata().
bracketed([]) -> [];
bracketed(Where) -> [" (", Where, ")"].

-spec part(atom(), map()) -> [unicode:chardata()].
part(Key, Details) ->
    case Details of
        #{Key := Value} -> phrase(Key, Value);
        #{} -> []
    end.

-spec phrase(atom(), term()) -> [unicode:chardata()].
phrase(status, not_persisted) -> ["not in the log"];
phrase(status, possibly_persisted) -> ["possibly in the log"];
phrase(status, persisted) -> ["in the log"];
phrase(topic, Topic) when is_binary(Topic) -> [["topic ", text(Topic)]];
phrase(retriable, true) -> ["may succeed later"];
phrase(fatal, true) -> ["fatal"];
phrase(abortable, true) -> ["abort the transaction"];
phrase(Flag, _) when Flag =:= retriable; Flag =:= fatal; Flag =:= abortable -> [];
phrase(Key, Value) -> [[atom_to_binary(Key), " ", crema_input:show(Value)]].
