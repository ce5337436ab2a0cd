%% @doc The types of what is given to crema, and of what comes back.
-module(crema_types).

-export_type([client/0, message/0, topic_message/0, headers/0, report/0, produce_options/0]).
-export_type([partitioner/0, callback/0, tokens/0, transaction_options/0, offset/0]).
-export_type([client_options/0, explanation/0, source/0]).

-type client() :: pid() | atom() | {global, term()} | {via, module(), term()} | tuple().
%% A producer, consumer, reader, pool or cluster: its process or its name; or, of a
%% producer, a variant or a topic handle.

-type message() :: #{
    topic := iodata() | atom(),
    value => iodata() | undefined | nil,
    key => iodata() | undefined | nil,
    partition => integer(),
    partition_key => iodata() | undefined | nil,
    headers => headers(),
    timestamp => non_neg_integer() | map(),
    label => term()
}.
%% To be produced. `value' and `key': null if absent; `partition': chosen by the
%% partitioner if absent; `partition_key': stands for the key there; `timestamp':
%% milliseconds since 1970, or Elixir's DateTime, now if absent; `label': comes back with
%% the report.

-type topic_message() :: #{
    metadata => term(),
    data => iodata() | undefined | nil,
    value => term(),
    key => iodata() | undefined | nil,
    partition => integer(),
    headers => headers(),
    timestamp => non_neg_integer(),
    label => term(),
    atom() => term()
}.
%% To be pushed: `value', which the handle's serializer takes, or `metadata', which it
%% takes, and `data', which is sent as it is.

-type headers() :: [{iodata(), iodata() | undefined | nil}] | map().
%% In order, with repeats; of a map a list of values is as many headers.

-type report() :: #{
    topic => binary(),
    partition := integer(),
    offset := integer(),
    timestamp := integer(),
    label => term()
}.
%% Where a message went. With `acks=0' the offset is -1 or less.

-type produce_options() :: #{
    timeout => timeout(),
    on_full => wait | error,
    full_timeout => timeout(),
    report => await | message | none | callback(),
    tag => non_neg_integer(),
    partitioner => partitioner() | iodata()
}.
%% `timeout' (ms): how long to wait for reports, the producer's `request_timeout' (180000)
%% if absent; `on_full' and `full_timeout' (ms): what to do when the queue is full, as the
%% producer has it (`wait', 10000); `report' (`await') and `tag' (0): how an asynchronous
%% call is reported; `partitioner': who chooses partitions, for this call.

-type partitioner() ::
    consistent_random | murmur2_random | fnv1a_random | consistent | murmur2 | fnv1a
    | random | round_robin | md5
    | fun((Topic :: binary(), Count :: pos_integer(), Key :: term(), Value :: term()) -> integer())
    | {module(), Function :: atom(), Args :: list()}.

-type callback() ::
    fun((crema:result()) -> term()) | {module(), Function :: atom(), Args :: [term()]}.
%% Called with the result of a message; `{M, F, A}' as M:F(Result, A...).

-type tokens() :: token() | [token()].
-type token() :: crema_consumer:message() | crema_consumer:token().

-type transaction_options() :: #{timeout => timeout(), abort_wait => non_neg_integer()}.
%% `timeout' (ms): how long to wait for the turn, the producer's `transaction_wait' (60000)
%% if absent; `abort_wait' (ms): see the producer's option (10000).

-type offset() ::
    {Topic :: binary() | atom(), Partition :: non_neg_integer(), Next :: non_neg_integer()}
    | #{topic := binary(), partition := non_neg_integer(), offset := non_neg_integer(), _ => _}.
%% The next message to consume of a partition, or the one consumed last.

-type client_options() ::
    {producer | consumer | reader, Options :: map() | list()}
    | #{start := {module(), start_link, [term()]}, _ => _}.
%% Options and whose they are; or what `child_spec/1' of a producer or consumer returns.

-type source() ::
    option
    | {env, Variable :: binary()}
    | {application, client | producer | consumer | reader}
    | default
    | crema
    | {from, Option :: atom()}.
%% `option': given; `{env, Variable}'; `{application, Key}': the application environment of
%% crema; `default': crema's. Of librdkafka's properties beside these `crema': set by crema;
%% `{from, Option}': what that option says.

-type explanation() :: #{
    kind := producer | consumer | reader,
    options := [#{option := atom(), value := term(), source := source()}],
    kafka := [#{option := binary(), value := binary(), source := source()}],
    warnings := [binary()],
    text := binary()
}.
%% `kafka' are those that librdkafka is given; all others have its own defaults.
