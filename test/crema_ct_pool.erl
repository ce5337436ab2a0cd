%% What the suites of pools share.
-module(crema_ct_pool).

-export([pool/2, cleanup/0, members/1]).

%% @doc A pool on the suite's brokers, one for each case.
pool(Config, Options) ->
    Given = maps:merge(#{bootstrap_servers => crema_ct:bootstrap(Config)}, Options),
    {ok, Pool} = crema_pool:start_link(Given),
    true = unlink(Pool),
    _ = put(?MODULE, Pool),
    Pool.

%% @doc For end_per_testcase, beside that of crema_ct.
cleanup() ->
    _ = [crema_pool:stop(Pool, 1000) || Pool <- [erase(?MODULE)], is_pid(Pool)],
    crema_ct:cleanup().

members(Pool) ->
    {ok, _, _, Members} = crema_registry:pool(Pool),
    tuple_to_list(Members).
