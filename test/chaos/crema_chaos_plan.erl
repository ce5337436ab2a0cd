%% What a run of chaos does, and when: a pure function of its seed and its length, so that
%% a run can be repeated.
%%
%% There are lanes of faults of one kind each, beside each other; in a lane a fault ends
%% before the next begins. Each lane draws from random numbers of its own.
-module(crema_chaos_plan).

-export([make/2, print/1]).
-export_type([plan/0, lane/0, fault/0, step/0]).

%% When it begins (milliseconds after the start of the plan), what it is, how long it lasts.
-type step() :: {At :: non_neg_integer(), fault(), Lasts :: non_neg_integer()}.
-type lane() :: brokers | network | clients | nodes | topics.
-type plan() :: [{lane(), [step()]}].

%% The leader of the quorum is whoever it is when the fault begins.
-type broker() :: 1..3 | controller | all.
-type app() :: pos_integer().
-type fault() ::
    %% SIGKILL, and the start at the end; SIGSTOP, and SIGCONT at the end.
    {kill_broker | pause_broker, broker()}
    %% Connections through its proxy are cut, once, or none are taken until the end.
    | {cut | refuse, broker()}
    %% What goes there, comes back, or both, stays in the proxy. At the end it goes on, or
    %% the connection is cut and it is lost.
    | {hold, broker(), to | from | both, release | cut}
    | {delay, broker(), Millis :: pos_integer()}
    | {add_partition, Topic :: binary()}
    %% Whole applications.
    | {kill_app | pause_app, app()}
    %% A part of one, which it draws from its number.
    | {kill_handler | kill_member | kill_client | kill_port | seek, app(), Draw :: integer()}
    %% A member leaves its group, and another comes at the end.
    | {leave, app(), Draw :: integer()}.

-define(LANES, [
    %% lane, the pause between two faults, and how long each lasts, in milliseconds
    {brokers, {4000, 12000}},
    {network, {2000, 7000}},
    {clients, {1000, 3000}},
    {nodes, {12000, 25000}},
    {topics, {20000, 60000}}
]).

-spec make(Seed :: integer(), Seconds :: pos_integer()) -> plan().
make(Seed, Seconds) ->
    [
        {Lane, lane(Lane, Pauses, 0, Seconds * 1000, rand:seed_s(exsss, {Seed, Number, 0}))}
     || {Number, {Lane, Pauses}} <- lists:zip(lists:seq(1, length(?LANES)), ?LANES)
    ].

lane(Lane, {Shortest, Longest} = Pauses, Now, End, Random0) ->
    {Pause, Random1} = between(Shortest, Longest, Random0),
    {Fault, {Least, Most}, Random2} = fault(Lane, Random1),
    {Lasts, Random3} = between(Least, Most, Random2),
    case Now + Pause + Lasts of
        Over when Over > End -> [];
        Over -> [{Now + Pause, Fault, Lasts} | lane(Lane, Pauses, Over, End, Random3)]
    end.

fault(brokers, Random0) ->
    {Broker, Random1} = one_of([1, 2, 3, controller, controller, controller, all], Random0),
    {Kind, Random2} = one_of([kill_broker, kill_broker, pause_broker], Random1),
    {{Kind, Broker}, {500, 9000}, Random2};
fault(network, Random0) ->
    {Broker, Random1} = one_of([1, 2, 3, all], Random0),
    {Kind, Random2} = one_of([cut, refuse, hold, hold, delay], Random1),
    network(Kind, Broker, Random2);
fault(clients, Random0) ->
    {Kind, Random1} = one_of(
        [kill_handler, kill_handler, kill_member, kill_client, kill_port, seek, leave, leave], Random0
    ),
    {App, Random2} = one_of([1, 2, 3], Random1),
    {Draw, Random3} = between(0, 1 bsl 30, Random2),
    Lasts = case Kind of leave -> {500, 4000}; _ -> {0, 0} end,
    {{Kind, App, Draw}, Lasts, Random3};
fault(nodes, Random0) ->
    {Kind, Random1} = one_of([kill_app, kill_app, pause_app], Random0),
    {App, Random2} = one_of([1, 2, 3], Random1),
    {{Kind, App}, {500, 15000}, Random2};
fault(topics, Random) ->
    {{add_partition, <<"loose">>}, {0, 0}, Random}.

network(cut, Broker, Random) ->
    {{cut, Broker}, {0, 0}, Random};
network(refuse, Broker, Random) ->
    {{refuse, Broker}, {500, 6000}, Random};
network(delay, Broker, Random0) ->
    {Millis, Random1} = between(5, 300, Random0),
    {{delay, Broker, Millis}, {2000, 8000}, Random1};
network(hold, Broker, Random0) ->
    {Direction, Random1} = one_of([to, from, both], Random0),
    {End, Random2} = one_of([release, cut], Random1),
    {{hold, Broker, Direction, End}, {500, 8000}, Random2}.

one_of(Choices, Random0) ->
    {Number, Random1} = rand:uniform_s(length(Choices), Random0),
    {lists:nth(Number, Choices), Random1}.

between(Least, Most, Random0) ->
    {Number, Random1} = rand:uniform_s(Most - Least + 1, Random0),
    {Least + Number - 1, Random1}.

%% @doc A line for each step, in their order.
-spec print(plan()) -> ok.
print(Plan) ->
    Steps = lists:sort([{At, Lane, Fault, Lasts} || {Lane, Of} <- Plan, {At, Fault, Lasts} <- Of]),
    lists:foreach(
        fun({At, Lane, Fault, Lasts}) ->
            io:format("~7.1f s  ~-8s ~0p~s~n", [At / 1000, Lane, Fault, lasts(Lasts)])
        end,
        Steps
    ).

lasts(0) -> "";
lasts(Millis) -> io_lib:format(" for ~.1f s", [Millis / 1000]).
