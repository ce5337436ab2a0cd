# Not Broadway, and not GenStage: what crema's producer of Broadway is tested against, for crema
# has no dependencies. It does what GenStage 1.x and Broadway 1.x do with a producer module, by the same
# messages and callbacks, and no more: subscribing, demand, draining, acknowledgement, supervision; one
# processor, without batchers. It is stricter than they are: events without demand are a crash, not
# buffered.

defmodule Broadway.Message do
  @enforce_keys [:data, :acknowledger]
  defstruct data: nil,
            metadata: %{},
            acknowledger: nil,
            batcher: :default,
            batch_key: :default,
            batch_mode: :bulk,
            status: :ok

  def failed(%__MODULE__{} = message, reason), do: %{message | status: {:failed, reason}}

  def configure_ack(%__MODULE__{acknowledger: {module, ack_ref, ack_data}} = message, opts) do
    {:ok, ack_data} = module.configure(ack_ref, ack_data, opts)
    %{message | acknowledger: {module, ack_ref, ack_data}}
  end
end

defmodule Broadway.StandIn.ProducerStage do
  # GenStage's part for a producer, around the producer's module as Broadway's stage is.
  use GenServer

  def start_link({module, arg}, broadway, opts \\ []),
    do: GenServer.start_link(__MODULE__, {module, arg, broadway}, opts)

  @impl true
  def init({module, arg, broadway}) do
    arg = if Keyword.keyword?(arg), do: Keyword.put(arg, :broadway, broadway), else: arg

    case module.init(arg) do
      {:producer, state} -> {:ok, %{module: module, state: state, asked: %{}, consumers: []}}
      other -> {:stop, {:bad_return_value, other}}
    end
  end

  @impl true
  def handle_info({:"$gen_producer", {pid, ref} = from, {:subscribe, nil, _opts}}, stage) do
    Process.monitor(pid)

    {:noreply,
     %{stage | consumers: [from | stage.consumers], asked: Map.put(stage.asked, ref, 0)}}
  end

  # It was cancelled already.
  def handle_info({:"$gen_producer", {_pid, ref}, {:ask, _}}, %{asked: asked} = stage)
      when not is_map_key(asked, ref),
      do: {:noreply, stage}

  def handle_info({:"$gen_producer", {_pid, ref}, {:ask, count}}, stage) do
    stage = update_in(stage.asked[ref], &(&1 + count))
    stage.module.handle_demand(count, stage.state) |> dispatch(stage)
  end

  def handle_info({:"$gen_producer", {pid, ref} = from, {:cancel, reason}}, stage) do
    send(pid, {:"$gen_consumer", {self(), ref}, {:cancel, reason}})
    asked = Map.delete(stage.asked, ref)
    {:noreply, %{stage | consumers: List.delete(stage.consumers, from), asked: asked}}
  end

  def handle_info(message, stage),
    do: stage.module.handle_info(message, stage.state) |> dispatch(stage)

  @impl true
  def handle_cast(:drain, stage) do
    {:noreply, stage} = stage.module.prepare_for_draining(stage.state) |> dispatch(stage)
    for from <- stage.consumers, do: send(self(), {:"$gen_producer", from, {:cancel, :shutdown}})
    {:noreply, stage}
  end

  @impl true
  def terminate(reason, stage) do
    if function_exported?(stage.module, :terminate, 2),
      do: stage.module.terminate(reason, stage.state)
  end

  defp dispatch({:stop, reason, state}, stage), do: {:stop, reason, %{stage | state: state}}

  defp dispatch({:noreply, events, state}, stage) when is_list(events) do
    Enum.each(events, fn %Broadway.Message{} -> :ok end)
    {:noreply, deliver(events, %{stage | state: state})}
  end

  defp deliver([], stage), do: stage

  defp deliver(events, stage) do
    {pid, ref} =
      Enum.find(stage.consumers, fn {_, ref} -> stage.asked[ref] > 0 end) ||
        raise "#{length(events)} events without demand"

    {now, later} = Enum.split(events, stage.asked[ref])
    send(pid, {:"$gen_consumer", {self(), ref}, now})
    deliver(later, update_in(stage.asked[ref], &(&1 - length(now))))
  end
end

defmodule Broadway.StandIn.Processor do
  # GenStage's part for a consumer, with a processor's part of Broadway.
  use GenServer

  def start_link({_module, _producers, _max_demand} = args, opts),
    do: GenServer.start_link(__MODULE__, args, opts)

  @impl true
  def init({module, producers, max_demand}) do
    Process.flag(:trap_exit, true)
    state = %{module: module, max_demand: max_demand, producers: %{}, terminator: nil}
    {:ok, Enum.reduce(producers, state, &subscribe/2)}
  end

  # To one that is not there yet again soon.
  defp subscribe(name, state) do
    if pid = Process.whereis(name) do
      ref = Process.monitor(pid)
      send(pid, {:"$gen_producer", {self(), ref}, {:subscribe, nil, []}})
      send(pid, {:"$gen_producer", {self(), ref}, {:ask, state.max_demand}})
      put_in(state.producers[ref], name)
    else
      Process.send_after(self(), {:subscribe, name}, 10)
      state
    end
  end

  @impl true
  def handle_info({:subscribe, name}, state), do: {:noreply, subscribe(name, state)}

  def handle_info({:will_terminate, terminator}, state),
    do: {:noreply, done(%{state | terminator: terminator})}

  def handle_info({:"$gen_consumer", {_, ref}, {:cancel, :shutdown}}, state),
    do: {:noreply, done(%{state | producers: Map.delete(state.producers, ref)})}

  def handle_info({:DOWN, ref, _, _, _reason}, state) do
    case Map.pop(state.producers, ref) do
      {nil, _} -> {:noreply, state}
      {name, producers} -> {:noreply, done(subscribe(name, %{state | producers: producers}))}
    end
  end

  def handle_info({:EXIT, _pid, _reason}, state), do: {:noreply, state}

  def handle_info({:"$gen_consumer", {stage, ref}, messages}, state) do
    handled = Enum.map(messages, &handle(state.module, &1))
    {successful, failed} = Enum.split_with(handled, &(&1.status == :ok))

    for {acknowledger, ack_ref} <- Enum.uniq(Enum.map(handled, &acknowledger/1)) do
      mine = fn messages ->
        Enum.filter(messages, &(acknowledger(&1) == {acknowledger, ack_ref}))
      end

      :ok = acknowledger.ack(ack_ref, mine.(successful), mine.(failed))
    end

    send(stage, {:"$gen_producer", {self(), ref}, {:ask, length(messages)}})
    {:noreply, state}
  end

  defp done(%{terminator: terminator, producers: producers} = state)
       when terminator != nil and producers == %{} do
    send(terminator, {:done, self()})
    state
  end

  defp done(state), do: state

  defp acknowledger(%{acknowledger: {module, ack_ref, _}}), do: {module, ack_ref}

  defp handle(module, message) do
    %Broadway.Message{} = module.handle_message(:default, message, :context)
  rescue
    error -> %{message | status: {:error, error, __STACKTRACE__}}
  end
end

defmodule Broadway.StandIn.Terminator do
  # The last to start, and so the first to end: the processors end when they have done what they
  # were given.
  use GenServer

  def start_link(stages, opts), do: GenServer.start_link(__MODULE__, stages, opts)

  @impl true
  def init(stages), do: {:ok, stages}

  @impl true
  def handle_call(:trap_exit, _from, stages) do
    Process.flag(:trap_exit, true)
    {:reply, :ok, stages}
  end

  @impl true
  def terminate(_reason, {producers, processor}) do
    monitor = Process.monitor(processor)
    send(processor, {:will_terminate, self()})
    Enum.each(producers, &GenServer.cast(&1, :drain))

    receive do
      {:done, _} -> :ok
      {:DOWN, ^monitor, _, _, _} -> :ok
    end
  end
end

defmodule Broadway do
  # Over a supervisor of the supervisors of producers and of processors, of which Broadway restarts
  # what they are.
  use GenServer

  alias Broadway.StandIn.{Processor, ProducerStage, Terminator}

  defmacro __using__(_opts) do
    quote do
      def child_spec(arg), do: %{id: __MODULE__, start: {__MODULE__, :start_link, [arg]}}
      defoverridable child_spec: 1
    end
  end

  def start_link(module, opts),
    do: GenServer.start_link(__MODULE__, {module, opts}, name: Keyword.fetch!(opts, :name))

  def stop(broadway), do: GenServer.stop(broadway, :shutdown)

  @doc "The name of a stage: `:Producer_0` and so on, `:Processor` or `:Terminator`."
  def stage(name, stage), do: :"#{name}.#{stage}"

  @impl true
  def init({module, opts}) do
    Process.flag(:trap_exit, true)
    {producer, _} = opts[:producer][:module]
    Code.ensure_loaded!(producer)
    {[], opts} = producer.prepare_for_start(module, opts)
    {:ok, supervisor} = Supervisor.start_link(children(module, opts), strategy: :rest_for_one)
    {:ok, {opts[:name], supervisor}}
  end

  defp children(module, opts) do
    named = &stage(opts[:name], &1)
    [default: processor] = opts[:processors]
    true = is_function(processor[:partition_by], 1)

    producers =
      for index <- 1..opts[:producer][:concurrency], do: named.(:"Producer_#{index - 1}")

    of_processor = {module, producers, processor[:max_demand] || 10}

    stages =
      for name <- producers,
          do: child(ProducerStage, [opts[:producer][:module], opts], name)

    processors = [child(Processor, [of_processor], named.(:Processor))]

    [
      supervisor(:producers, stages, strategy: :one_for_one),
      supervisor(:processors, processors, strategy: :one_for_all, max_restarts: 0),
      child(Terminator, [{producers, named.(:Processor)}], named.(:Terminator))
    ]
  end

  defp child(module, args, name),
    do: %{id: name, start: {module, :start_link, args ++ [[name: name]]}}

  defp supervisor(id, children, opts),
    do: %{id: id, start: {Supervisor, :start_link, [children, opts]}, type: :supervisor}

  @impl true
  def handle_info({:EXIT, supervisor, reason}, {_, supervisor} = state),
    do: {:stop, reason, state}

  @impl true
  def terminate(reason, {name, supervisor}) do
    :ok = GenServer.call(stage(name, :Terminator), :trap_exit)
    monitor = Process.monitor(supervisor)
    Process.exit(supervisor, reason)

    receive do
      {:DOWN, ^monitor, _, _, _} -> :ok
    end
  end
end
