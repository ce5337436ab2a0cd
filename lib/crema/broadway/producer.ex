defmodule Crema.Broadway.Producer do
  @moduledoc """
  A producer of [Broadway](https://hexdocs.pm/broadway) whose messages a consumer group is given.

      defmodule MyApp.Orders do
        use Broadway

        def start_link(_opts) do
          Broadway.start_link(__MODULE__,
            name: __MODULE__,
            producer: [
              module:
                {Crema.Broadway.Producer,
                 bootstrap_servers: "localhost:9092", group: "baristas", topics: ["orders"]},
              concurrency: 1
            ],
            processors: [default: [concurrency: 10]]
          )
        end

        @impl true
        def handle_message(_processor, %Broadway.Message{data: value} = message, _context) do
          MyApp.Barista.make(value)
          message
        end
      end

  crema does not depend on Broadway: this module needs it when it is started, and not before. The
  page "Broadway" tells what holds of order, memory, failures, rebalances and shutdown.

  Each producer of the pipeline (`:concurrency`) is a member of the group. A message's `:data` is its
  value, its `:metadata` a map of `:topic`, `:partition`, `:offset`, `:key`, `:headers`, `:timestamp`
  and `:timestamp_type`.

  ## What it is given

  The options of `Crema.Consumer`, but for `:handler` and `:args`, and

    * `:on_failure`, what becomes of messages that failed: `:nack` (the default), what the option
      `:failures` says, which is to handle them again after a pause; or `:ack`, they are done with.
      `Broadway.Message.configure_ack/2` changes it for single messages

  Unless it is given otherwise `:max_in_flight` is 1_000: so many messages of a partition may be in the
  pipeline, or wait for it, and are not acknowledged yet.
  """

  # The behaviours GenStage, Broadway.Producer and Broadway.Acknowledger, whose modules may not be
  # there when this is compiled, and are not needed for it.

  alias Crema.Broadway.{Handler, Waiting, Watch}

  @message Broadway.Message
  @max_in_flight 1_000
  # The handler of a partition that is revoked may take that long (`:drain_timeout`); it waits for
  # what is in the pipeline for most of it.
  @drain_timeout Enum.find(:crema_options.table(), &(&1.name == :drain_timeout)).default

  @doc false
  # Broadway.Producer: called before the pipeline starts. The messages of a partition go to one
  # processor, and from it to one batch processor, so that they stay in order. Broadway has the
  # options in the arguments of its processes and in what it tells telemetry: they are not shown.
  @spec prepare_for_start(module, keyword) :: {[], keyword}
  def prepare_for_start(_module, opts) do
    in_order = fn stages ->
      for {name, config} <- stages,
          do: {name, Keyword.put_new(config, :partition_by, &__MODULE__.partition/1)}
    end

    {[],
     opts
     |> update_in([:producer, :module], &checked!(&1, opts[:producer][:concurrency]))
     |> Keyword.update!(:processors, in_order)
     |> Keyword.update(:batchers, [], in_order)}
  end

  defp checked!({module, given}, concurrency) do
    {_on_failure, opts} = options!(given)

    case :crema_settings.parse(:consumer, opts) do
      {:ok, parsed} -> single!(parsed, concurrency)
      {:error, reason} -> raise(Crema.Error, reason)
    end

    {module, :crema_secret.hide(given)}
  end

  # Members of one instance would fence each other for ever.
  defp single!(%{name: name, kafka: kafka}, concurrency)
       when is_integer(concurrency) and concurrency > 1 do
    for {option, given} <- [name: name, "group.instance.id": kafka["group.instance.id"]],
        given not in [nil, :undefined],
        do:
          bad_option!(
            "#{option} is for one member, but the producers' concurrency is #{concurrency}"
          )
  end

  defp single!(_parsed, _concurrency), do: []

  @doc """
  A number of a message's partition for the option `:partition_by`. Partitions of a topic that are next
  to each other have numbers that are: all stages get their share.
  """
  @spec partition(%{metadata: %{topic: binary, partition: non_neg_integer}}) :: non_neg_integer
  def partition(%{metadata: %{topic: topic, partition: partition}}),
    do: :erlang.phash2(topic) + partition

  @doc false
  # GenStage. Of the options that it was given to start with Broadway takes no other answer.
  @spec init(keyword | map | tuple) :: {:producer, map} | no_return
  def init(given) do
    # So that terminate/2 is called.
    Process.flag(:trap_exit, true)
    {on_failure, opts} = options!(given)
    {Handler, {_stage, _wait, closing}} = opts.handler

    case Crema.Consumer.start_link(opts) do
      {:ok, consumer} ->
        acknowledger = {__MODULE__, self(), %{on_failure: on_failure}}

        {:producer,
         %{
           consumer: consumer,
           watch: Watch.start_link(),
           closing: closing,
           demand: 0,
           waiting: Waiting.new(),
           template: struct!(@message, data: nil, acknowledger: acknowledger)
         }}

      {:error, {_code, %{}} = reason} ->
        raise Crema.Error, reason

      {:error, reason} ->
        exit(reason)
    end
  end

  # What is not right is for the consumer to say, but for what it does not know.
  defp options!(given) do
    {on_failure, opts} =
      case :crema_input.pairs(given) do
        {:ok, pairs, []} ->
          pairs |> Map.new() |> Map.delete(:broadway) |> Map.pop(:on_failure, :nack)

        _ ->
          bad_option!("the options of Crema.Broadway.Producer must be a keyword list or a map")
      end

    if on_failure not in [:ack, :nack],
      do: bad_option!("on_failure must be :ack or :nack, not #{inspect(on_failure)}")

    drain = Map.get(opts, :drain_timeout, @drain_timeout)
    wait = if is_integer(drain), do: div(drain * 4, 5), else: 0
    handler = {Handler, {self(), wait, :atomics.new(1, [])}}

    {on_failure,
     opts
     |> Map.put_new(:max_in_flight, @max_in_flight)
     |> Map.put(:handler, handler)
     |> Crema.Options.for_elixir()}
  end

  @spec bad_option!(String.t()) :: no_return
  defp bad_option!(message), do: raise(Crema.Error, {:bad_options, %{message: message}})

  @doc false
  @spec handle_demand(pos_integer, map) :: {:noreply, [struct], map}
  def handle_demand(more, state), do: dispatch(%{state | demand: state.demand + more})

  @doc false
  @spec handle_info(term, map) :: {:noreply, [struct], map} | {:stop, term, map}
  def handle_info({Handler, note}, state),
    do: dispatch(%{state | waiting: Waiting.told(note, state.waiting)})

  # Its member of the group has ended: so does this, and both are started again.
  def handle_info({:EXIT, consumer, reason}, %{consumer: consumer} = state),
    do: {:stop, reason, state}

  # A stage that had messages has crashed: what was not acknowledged comes again.
  def handle_info({:EXIT, watch, reason}, %{watch: watch} = state) when reason != :normal,
    do: {:stop, reason, state}

  def handle_info(_other, state), do: {:noreply, [], state}

  @doc false
  # Broadway.Producer: the pipeline ends, and takes nothing any more. What has waited for it comes
  # again to whoever is given the partition.
  @spec prepare_for_draining(map) :: {:noreply, [], map}
  def prepare_for_draining(state),
    do: {:noreply, [], %{state | waiting: Waiting.close(state.waiting)}}

  @doc false
  # By then the pipeline is empty; what it has acknowledged is committed. Handlers cannot ask this
  # process for anything now.
  @spec terminate(term, map) :: :ok
  def terminate(_reason, %{consumer: consumer, closing: closing}) do
    :ok = :atomics.put(closing, 1, 1)
    Crema.Consumer.stop(consumer)
  end

  defp dispatch(%{demand: demand, waiting: waiting, template: template} = state) do
    {messages, waiting} = Waiting.take(demand, waiting)
    events = for {ref, message} <- messages, do: event(ref, message, template)
    {:noreply, events, %{state | demand: demand - length(events), waiting: waiting}}
  end

  defp event(ref, %{token: token, value: value} = message, template) do
    {module, stage, ack_data} = template.acknowledger
    ack_data = Map.merge(ack_data, %{ref: ref, token: token})
    metadata = Map.drop(message, [:__struct__, :token, :value])
    %{template | data: value, metadata: metadata, acknowledger: {module, stage, ack_data}}
  end

  @doc false
  # Broadway.Acknowledger: called by the stage that is done with them.
  @spec ack(pid, [struct], [struct]) :: :ok
  def ack(stage, successful, failed) do
    {given_up, nacked} = Enum.split_with(failed, &(ack_data(&1).on_failure == :ack))
    # One that the partition's next owner is given is no longer this one's to acknowledge.
    _ = tell(successful ++ given_up, &Crema.ack/1)

    for {reason, messages} <- Enum.group_by(nacked, &reason(&1.status)),
        do: tell(messages, &Crema.nack(&1, reason))

    refs = Enum.frequencies_by(successful ++ failed, &ack_data(&1).ref)
    send(stage, {Handler, {:done, refs}})
    :ok
  end

  # As a handler's that returns it, or raises it, so that policies know it.
  defp reason({:failed, reason}), do: reason
  defp reason({_kind, reason, _stacktrace}), do: reason
  defp reason(other), do: other

  defp tell([], _fun), do: :ok
  defp tell(messages, fun), do: fun.(Enum.map(messages, &ack_data(&1).token))

  defp ack_data(%{acknowledger: {_module, _stage, ack_data}}), do: ack_data

  @doc false
  # Broadway.Acknowledger: of Broadway.Message.configure_ack/2.
  @spec configure(pid, map, keyword) :: {:ok, map}
  def configure(_stage, ack_data, opts) do
    Enum.reduce(opts, {:ok, ack_data}, fn
      {:on_failure, policy}, {:ok, ack_data} when policy in [:ack, :nack] ->
        {:ok, %{ack_data | on_failure: policy}}

      other, _acc ->
        raise ArgumentError, "on_failure: :ack or :nack can be configured, not: #{inspect(other)}"
    end)
  end
end
