# Not Broadway, and not GenStage: what crema's producer of Broadway is tested against, for crema
# has no dependencies. It does what GenStage 1.x and Broadway 1.x do with a producer module, by the same
# messages and callbacks, and no more: subscribing, demand, draining, acknowledgement; one processor,
# without batchers. It is stricter than they are: events without demand are a crash, not buffered.

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

  def start_link({module, arg}, broadway),
    do: GenServer.start_link(__MODULE__, {module, arg, broadway})

  @impl true
  def init({module, arg, broadway}) do
    arg = if Keyword.keyword?(arg), do: Keyword.put(arg, :broadway, broadway), else: arg

    case module.init(arg) do
      {:producer, state} -> {:ok, %{module: module, state: state, asked: %{}, consumers: []}}
      {:stop, reason} -> {:stop, reason}
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

  def start_link(args), do: GenServer.start_link(__MODULE__, args)

  @impl true
  def init({module, stages, max_demand}) do
    for stage <- stages do
      ref = Process.monitor(stage)
      send(stage, {:"$gen_producer", {self(), ref}, {:subscribe, nil, []}})
      send(stage, {:"$gen_producer", {self(), ref}, {:ask, max_demand}})
    end

    {:ok, {module, length(stages)}}
  end

  @impl true
  def handle_info({:"$gen_consumer", _from, {:cancel, :shutdown}}, {module, stages}) do
    if stages == 1, do: {:stop, :normal, module}, else: {:noreply, {module, stages - 1}}
  end

  def handle_info({:"$gen_consumer", {stage, ref}, messages}, {module, _} = state) do
    handled = Enum.map(messages, &handle(module, &1))
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

  def handle_info({:DOWN, _, _, _, reason}, state), do: {:stop, reason, state}

  defp acknowledger(%{acknowledger: {module, ack_ref, _}}), do: {module, ack_ref}

  defp handle(module, message) do
    %Broadway.Message{} = module.handle_message(:default, message, :context)
  rescue
    error -> Broadway.Message.failed(message, {:error, error, __STACKTRACE__})
  end
end

defmodule Broadway do
  # A supervisor of producer stages and one processor that stops as Broadway does.
  use GenServer

  alias Broadway.StandIn.{Processor, ProducerStage}

  defmacro __using__(_opts) do
    quote do
      def child_spec(arg), do: %{id: __MODULE__, start: {__MODULE__, :start_link, [arg]}}
      defoverridable child_spec: 1
    end
  end

  def start_link(module, opts),
    do: GenServer.start_link(__MODULE__, {module, opts}, name: Keyword.fetch!(opts, :name))

  def stop(broadway), do: GenServer.stop(broadway, :shutdown)

  @impl true
  def init({module, opts}) do
    Process.flag(:trap_exit, true)
    {producer, _} = opts[:producer][:module]
    Code.ensure_loaded!(producer)
    {[], opts} = producer.prepare_for_start(module, opts)
    [default: processor] = opts[:processors]
    true = is_function(processor[:partition_by], 1)

    starts =
      for index <- 0..(opts[:producer][:concurrency] - 1) do
        ProducerStage.start_link(opts[:producer][:module], Keyword.put(opts, :index, index))
      end

    case List.keyfind(starts, :error, 0) do
      nil ->
        stages = Keyword.get_values(starts, :ok)
        {:ok, processor} = Processor.start_link({module, stages, processor[:max_demand] || 10})
        {:ok, {stages, processor}}

      {:error, reason} ->
        {:stop, reason}
    end
  end

  @impl true
  def handle_info({:EXIT, _pid, reason}, state), do: {:stop, reason, state}

  # The processors end when they have done what they were given; then the producers do.
  @impl true
  def terminate(_reason, {stages, processor}) do
    await = fn pid, stop ->
      monitor = Process.monitor(pid)
      stop.()

      receive do
        {:DOWN, ^monitor, _, _, _} -> :ok
      end
    end

    await.(processor, fn -> Enum.each(stages, &GenServer.cast(&1, :drain)) end)
    for stage <- stages, do: await.(stage, fn -> Process.exit(stage, :shutdown) end)
  end
end
